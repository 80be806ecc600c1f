"""What the process computes with: the plug-in, the device, the engine, worker processes."""
