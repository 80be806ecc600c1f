"""The command `caffe-ext` and the programs in tools/: one module a subcommand."""
