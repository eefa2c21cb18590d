#pragma once

#include <cstddef>
#include <cstdint>

/// The little of PMIx, the library by which Open MPI and its launcher talk, that host_watch.cpp
/// calls. Open MPI's package for Python brings libpmix without its headers, so this is the ABI of
/// the PMIx Standard 4.1, which versions 4 and 5 of the library keep (sections 3.2, 9.1).
extern "C" {

struct musher_pmix_proc {
  char nspace[256];
  std::uint32_t rank;
};

struct musher_pmix_value {
  std::uint16_t type;
  union {
    musher_pmix_proc* proc;
    struct {
      void* bytes;
      std::size_t size;
    } widest;
  } data;
};

struct musher_pmix_info {
  char key[512];
  std::uint32_t flags;
  musher_pmix_value value;
};

/// Without a callback it returns when the event was delivered.
int PMIx_Notify_event(int status, const musher_pmix_proc* source, std::uint8_t range,
                      const musher_pmix_info info[], std::size_t count, void* callback,
                      void* callback_data);

}  // extern "C"

namespace musher {

inline constexpr int kPmixProcessAbortedBySignal = -402;       // PMIX_ERR_PROC_ABORTED_BY_SIG
inline constexpr std::uint8_t kPmixRangeThisProcess = 7;       // PMIX_RANGE_PROC_LOCAL
inline constexpr std::uint16_t kPmixTypeProcess = 22;          // PMIX_PROC
inline constexpr char kPmixAffectedProcess[] = "pmix.evproc";  // PMIX_EVENT_AFFECTED_PROC

static_assert(sizeof(musher_pmix_value) == 24 && sizeof(musher_pmix_info) == 544);

}  // namespace musher
