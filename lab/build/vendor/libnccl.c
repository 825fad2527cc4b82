/* libnccl.so.2: there, and of a version. */
int ncclGetVersion(int *version) { *version = VERSION; return 0; }
