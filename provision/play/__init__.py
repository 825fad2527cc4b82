"""`fab provision` and `fab play`."""
