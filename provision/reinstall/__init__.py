"""`fab reinstall`: another system on a rig, over SSH, with the old one as the way back."""
