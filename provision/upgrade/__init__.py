"""`fab upgrade`: another driver or PyTorch, and back to what was if the rig gets worse by it."""
