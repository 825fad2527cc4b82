"""`fab assess`: what a rig is, how it was used, who else can get in, and what to do with it."""
