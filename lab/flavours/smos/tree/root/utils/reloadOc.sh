#!/bin/bash
# Clocks as the farm wants them.
nvidia-smi -pl 290
