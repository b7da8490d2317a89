// The names that TVM's CUDA code generation uses for integer types.
typedef unsigned char uchar;
typedef unsigned short ushort;
typedef unsigned int uint;
typedef long long int64_t;
typedef unsigned long long uint64_t;

