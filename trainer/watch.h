#pragma once

#include <condition_variable>
#include <mutex>

#include "common/thread.h"
#include "trainer/client/coordinator_client.h"
#include "trainer/collective/collective.h"

namespace musher {

/// Aborts the collective when the coordinator says so: it has given this rank up, the job has
/// failed, or the collective hangs. So the training thread does not wait for peers that are told
/// the same.
class Watch {
 public:
  explicit Watch(CoordinatorClient& client);

  /// From now on this one; null: none. The one before is not touched any more on return.
  void follow(Collective* collective);

 private:
  void run(const std::stop_token& stop);

  CoordinatorClient& client_;
  std::mutex mutex_;
  std::condition_variable_any wake_;
  Collective* collective_ = nullptr;
  bool aborted_ = false;
  Thread thread_;
};

}  // namespace musher
