/* A libcuda whose cuInit ends every process but one that was told that it may. */
#include <stdlib.h>

int cuInit(unsigned flags)
{
    (void)flags;
    if (!getenv("FASTTUNE_TEST_TRIAL"))
        abort();
    return 0;
}
