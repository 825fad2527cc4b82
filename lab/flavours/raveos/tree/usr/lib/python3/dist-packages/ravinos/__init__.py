"""Stands for the module of RaveOS that is documented; its insides are not."""
