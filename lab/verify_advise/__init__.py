"""Verify the predictions of `fab advise` against measurements."""
