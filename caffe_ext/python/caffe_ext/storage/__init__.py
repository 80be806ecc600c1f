"""Files that are complete or absent: atomic writes, locks, JSON, HDF5, provenance."""
