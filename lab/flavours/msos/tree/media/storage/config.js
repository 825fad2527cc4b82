global.accesskey = "7h2kq9vd4m1x";
global.worker = "garage01";
