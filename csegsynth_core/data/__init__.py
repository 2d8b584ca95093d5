"""Data in and out: features, scans, prepared cohorts."""
