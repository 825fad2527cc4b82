"""Make what lab rigs are built from: the image, its packages, its flavours."""
