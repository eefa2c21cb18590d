#include "trainer/memory.h"

#include <climits>

#include <malloc.h>

namespace musher {

void keep_freed_memory() {
  mallopt(M_MMAP_MAX, 0);  // else memory above 32 MiB is mapped and unmapped each time
  mallopt(M_TRIM_THRESHOLD, INT_MAX);
}

}  // namespace musher
