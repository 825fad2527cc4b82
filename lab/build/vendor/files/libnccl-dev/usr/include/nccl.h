#ifndef NCCL_H_
#define NCCL_H_
#define NCCL_VERSION "@VERSION@"
int ncclGetVersion(int *version);
#endif
