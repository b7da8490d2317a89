/* Entry points by number of arguments: the kernel takes one pointer per argument, the launcher passes an array. */

#define EXPORT __attribute__((visibility("default")))

extern void lowbit_kernel(void);

EXPORT void lowbit_entry_3(void **a)
{
    ((void (*)(void *, void *, void *))lowbit_kernel)(a[0], a[1], a[2]);
}

EXPORT void lowbit_entry_4(void **a)
{
    ((void (*)(void *, void *, void *, void *))lowbit_kernel)(a[0], a[1], a[2], a[3]);
}

EXPORT void lowbit_entry_5(void **a)
{
    ((void (*)(void *, void *, void *, void *, void *))lowbit_kernel)(a[0], a[1], a[2], a[3], a[4]);
}

EXPORT void lowbit_entry_6(void **a)
{
    ((void (*)(void *, void *, void *, void *, void *, void *))lowbit_kernel)(a[0], a[1], a[2], a[3], a[4], a[5]);
}

EXPORT void lowbit_entry_7(void **a)
{
    ((void (*)(void *, void *, void *, void *, void *, void *, void *))lowbit_kernel)(a[0], a[1], a[2], a[3], a[4], a[5], a[6]);
}

EXPORT void lowbit_entry_8(void **a)
{
    ((void (*)(void *, void *, void *, void *, void *, void *, void *, void *))lowbit_kernel)(a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7]);
}

EXPORT void lowbit_entry_9(void **a)
{
    ((void (*)(void *, void *, void *, void *, void *, void *, void *, void *, void *))lowbit_kernel)(a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7], a[8]);
}

EXPORT void lowbit_entry_10(void **a)
{
    ((void (*)(void *, void *, void *, void *, void *, void *, void *, void *, void *, void *))lowbit_kernel)(a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7], a[8], a[9]);
}

EXPORT void lowbit_entry_11(void **a)
{
    ((void (*)(void *, void *, void *, void *, void *, void *, void *, void *, void *, void *, void *))lowbit_kernel)(a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7], a[8], a[9], a[10]);
}

EXPORT void lowbit_entry_12(void **a)
{
    ((void (*)(void *, void *, void *, void *, void *, void *, void *, void *, void *, void *, void *, void *))lowbit_kernel)(a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7], a[8], a[9], a[10], a[11]);
}

EXPORT void lowbit_entry_13(void **a)
{
    ((void (*)(void *, void *, void *, void *, void *, void *, void *, void *, void *, void *, void *, void *, void *))lowbit_kernel)(a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7], a[8], a[9], a[10], a[11], a[12]);
}

EXPORT void lowbit_entry_14(void **a)
{
    ((void (*)(void *, void *, void *, void *, void *, void *, void *, void *, void *, void *, void *, void *, void *, void *))lowbit_kernel)(a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7], a[8], a[9], a[10], a[11], a[12], a[13]);
}
