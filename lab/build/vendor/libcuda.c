/* libcuda.so.1: there, of a version, and without a device that could compute. */
int cuInit(unsigned flags) { return 100; }
int cuDriverGetVersion(int *version) { *version = CUDA; return 0; }
