// What stands before the text of every module of kernels. NVRTC has no headers of
// its own; where kernels are executed by the processor, in tests, their shim
// defines all this.
#ifndef QUERN_SHIM
typedef signed char int8_t;
typedef unsigned char uint8_t;
typedef short int16_t;
typedef unsigned short uint16_t;
typedef int int32_t;
typedef unsigned int uint32_t;
typedef long long int64_t;
typedef unsigned long long uint64_t;
// Dynamic shared memory as an array `name` of type T.
#define DYN_SHARED(T, name) \
    extern __shared__ __align__(16) unsigned char name##_bytes[]; \
    T* name = reinterpret_cast<T*>(name##_bytes)
#endif
