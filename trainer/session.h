#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "model/added_models.h"
#include "model/model.h"
#include "storage/object_store.h"
#include "trainer/activity.h"
#include "trainer/agreement.h"
#include "trainer/checkpoint.h"
#include "trainer/client/coordinator_client.h"
#include "trainer/collective/collective.h"
#include "trainer/collective/mpi_newcomer.h"
#include "trainer/fault.h"
#include "trainer/inputs.h"
#include "trainer/training_loop.h"
#include "trainer/watch.h"

namespace musher {

struct SessionOptions {
  int member = 0;  ///< this rank's number within the attempt
  std::uint64_t attempt = 1;
  bool newcomer = false;  ///< is given its state by the others
  c10::Device device = c10::Device(c10::kCPU);
  std::int64_t bucket_bytes = 4 << 20;
  std::chrono::seconds step_timeout{600};
  std::function<std::unique_ptr<Newcomer>(std::vector<std::string> command)> start_newcomer;
  /// Program and arguments of a newcomer; its number and its GPU are added.
  std::vector<std::string> newcomer_command;
  DataOptions data;
  AddedModels models;                     ///< beside Musher's own
  std::uint64_t metrics_every_steps = 0;  ///< see Curve
  Faults faults;                          ///< of tests
};

/// One rank's training over all generations of an attempt. When a peer is lost the survivors shrink
/// their collective, agree on the last committed step, bring level who is behind, tell the
/// coordinator who goes on, and train on with the virtual workers that it gives them, in the same
/// processes. Ranks that come and go on request take the same way. Design: virtual workers
/// (VirtualFlow, EasyScale), per-step commit (torchft), ULFM's revoke, shrink and agree (Bland et
/// al., 2013).
class Session {
 public:
  /// Builds the model and all that needs no other rank. All must outlive it but `membership`.
  Session(SessionOptions options, Membership membership, CoordinatorClient& client,
          const std::atomic<bool>& stop_signal);
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  c10::Device device() const { return options_.device; }
  /// Whether ranks were lost, left or came.
  bool members_changed() const { return members_changed_; }

  /// To the end of the job. Throws Error for what other ranks would meet as well, or where the
  /// coordinator has given this rank up; PeerFailure where the survivors could not find together:
  /// then the attempt is lost.
  Outcome run(std::unique_ptr<Collective> ranks);

 private:
  struct Failure {
    std::chrono::steady_clock::time_point noticed;
    std::string cause;  ///< empty: expected
    std::optional<std::uint64_t> under_way;
  };

  void load();
  void gather();
  void form();
  void provide_gradients(Deadline deadline);
  GenerationPlan announce(const Agreement& agreement, Deadline deadline);
  LoopEnd train();
  void recover(const std::string& cause);
  void grow();
  bool newcomer_ready();
  std::vector<std::string> newcomer_command(int member) const;
  Outcome publish(bool stopped);
  void require_wanted();
  void replace(std::unique_ptr<Collective> next);
  bool leads() const { return ranks_->rank() == 0; }

  const SessionOptions options_;
  Membership membership_;
  CoordinatorClient& client_;
  const std::atomic<bool>& stop_signal_;
  ActivityClock activity_;
  const SampleFormat format_;
  const std::unique_ptr<Task> task_;
  std::string weights_report_;  ///< of the initial weights
  std::unique_ptr<Model> model_;
  std::uint64_t fingerprint_;
  TrainingStep step_;
  Inputs inputs_;
  std::unique_ptr<ObjectStore> checkpoint_store_;
  std::unique_ptr<CheckpointWriter> checkpoints_;
  TrainingLoop loop_;

  std::unique_ptr<Collective> ranks_;
  Watch watch_;  ///< of ranks_
  bool gathered_ = false;
  bool has_state_ = false;
  bool has_memory_ = false;
  bool formed_ = false;
  bool members_changed_ = false;
  bool regroup_ = false;  ///< the membership has changed since the coordinator made it
  Agreement agreement_;
  std::optional<Failure> failure_;
  std::unique_ptr<Newcomer> newcomer_;
  std::set<int> started_;  ///< numbers of newcomers that this rank has started
};

}  // namespace musher
