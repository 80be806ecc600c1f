"""Files that are whole or not there: atomic writes, locks, JSON, HDF5, provenance."""
