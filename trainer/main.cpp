// musher-trainer: one rank of a training job, as mpirun starts it.

#include <array>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <optional>
#include <string>
#include <thread>

#include <pthread.h>
#include <signal.h>

#include "common/error.h"
#include "coordinator/embedded.h"
#include "storage/config.h"
#include "trainer/client/coordinator_client.h"
#include "trainer/collective/mpi.h"
#include "trainer/options.h"
#include "trainer/run.h"

namespace musher {
namespace {

constexpr auto kStartTimeout = std::chrono::seconds(60);
constexpr auto kEndTimeout = std::chrono::seconds(30);
constexpr int kExitFailed = 1;
constexpr int kExitUsage = 2;

/// Takes SIGTERM out of every thread's way and turns it into a flag: to end at the next step
/// boundary, with everything saved. Made before any other thread, so that all inherit the mask.
class StopSignal {
 public:
  StopSignal() {
    sigemptyset(&set_);
    sigaddset(&set_, SIGTERM);
    sigaddset(&set_, SIGINT);
    pthread_sigmask(SIG_BLOCK, &set_, nullptr);
    thread_ = std::jthread([this](const std::stop_token& stop) {
      while (!stop.stop_requested()) {
        const timespec wait{0, 100'000'000};
        if (sigtimedwait(&set_, nullptr, &wait) > 0) flag_ = true;
      }
    });
  }
  const std::atomic<bool>& flag() const { return flag_; }

 private:
  sigset_t set_{};
  std::atomic<bool> flag_ = false;
  std::jthread thread_;
};

void broadcast_text(Collective& world, std::string& text, Deadline deadline) {
  std::int64_t size = static_cast<std::int64_t>(text.size());
  world.broadcast({&size, 1, DType::kInt64}, 0, deadline);
  text.resize(static_cast<std::size_t>(size));
  world.broadcast({text.data(), text.size(), DType::kUInt8}, 0, deadline);
}

/// Where the coordinator is and who this rank is to it.
struct Rendezvous {
  std::string address;
  RankIdentity identity;
};

std::string read_token(const std::string& path) {
  std::ifstream file(path);
  std::string token;
  if (!std::getline(file, token) || token.empty()) {
    throw Error(ErrorCode::kInvalidArgument, "--token-file " + path + " can't be read or is empty");
  }
  return token;
}

Rendezvous given_rendezvous(const TrainerOptions& options, const MpiRuntime& mpi) {
  RankIdentity identity{options.job_name, options.attempt, mpi.world_rank(), mpi.world_size(),
                        read_token(options.token_file)};
  return {options.coordinator, identity};
}

/// A run by hand: rank 0 holds the coordinator and tells the others where it is, or, with an empty
/// address, that the job is bad.
std::optional<Rendezvous> hand_made_rendezvous(const TrainerOptions& options, const MpiRuntime& mpi,
                                               Collective& world,
                                               std::unique_ptr<EmbeddedCoordinator>& coordinator) {
  Rendezvous rendezvous;
  if (mpi.world_rank() == 0) {
    try {
      coordinator = std::make_unique<EmbeddedCoordinator>(options.job_file, mpi.world_size(),
                                                          StorageConfig::from_environment());
      rendezvous.address = coordinator->address();
      rendezvous.identity.job = coordinator->job_name();
      rendezvous.identity.token = coordinator->token();
      rendezvous.identity.attempt = coordinator->attempt();
    } catch (const Error& error) {
      std::cerr << "musher-trainer: " << error.what() << std::endl;
    }
  }
  const Deadline deadline = Deadline::after(kStartTimeout);
  broadcast_text(world, rendezvous.address, deadline);
  if (rendezvous.address.empty()) return std::nullopt;
  broadcast_text(world, rendezvous.identity.job, deadline);
  broadcast_text(world, rendezvous.identity.token, deadline);
  std::int64_t attempt = static_cast<std::int64_t>(rendezvous.identity.attempt);
  world.broadcast({&attempt, 1, DType::kInt64}, 0, deadline);
  rendezvous.identity.attempt = static_cast<std::uint64_t>(attempt);
  rendezvous.identity.rank = mpi.world_rank();
  rendezvous.identity.world_size = mpi.world_size();
  return rendezvous;
}

/// The failure that the coordinator knows of, if any, says more than the symptom that this rank
/// saw.
void report_failure(CoordinatorClient& client, int rank, const std::string& what) {
  std::cerr << "musher-trainer: rank " << rank << ": " << what << std::endl;
  try {
    client.finish(Outcome::kFailed, what, "", {}, Deadline::after(kEndTimeout));
  } catch (const Error& error) {
    std::cerr << "musher-trainer: rank " << rank
              << ": the coordinator was not told: " << error.what() << std::endl;
  }
}

int run(const TrainerOptions& options, const MpiRuntime& mpi,
        const std::atomic<bool>& stop_signal) {
  auto world = make_mpi_collective(mpi, {}, Deadline::after(kStartTimeout));
  std::unique_ptr<EmbeddedCoordinator> coordinator;
  std::optional<Rendezvous> rendezvous;
  if (options.job_file.empty()) {
    rendezvous = given_rendezvous(options, mpi);
  } else {
    rendezvous = hand_made_rendezvous(options, mpi, *world, coordinator);
    if (!rendezvous) return kExitUsage;
  }

  CoordinatorClient client(rendezvous->address, rendezvous->identity);
  bool failed = false;
  try {
    run_rank(options, world, client, stop_signal);
  } catch (const std::exception& error) {
    failed = true;
    report_failure(client, mpi.world_rank(), error.what());
    if (world) world->abort();
  }
  if (coordinator) {
    coordinator->wait_over(Deadline::after(kEndTimeout));
    return coordinator->exit_code();
  }
  return failed ? kExitFailed : 0;
}

}  // namespace
}  // namespace musher

int main(int argc, char** argv) {
  using namespace musher;
  int code = kExitFailed;
  bool finalized = true;
  try {
    const auto options = parse_trainer_options(argc, argv);
    if (!options) return 0;
    const StopSignal stop;
    MpiRuntime mpi;
    code = run(*options, mpi, stop.flag());
    finalized = mpi.finalize(Deadline::after(std::chrono::seconds(code == 0 ? 10 : 2)));
  } catch (const Error& error) {
    std::cerr << "musher-trainer: " << error.what() << std::endl;
    code = error.code() == ErrorCode::kInvalidArgument ? kExitUsage : kExitFailed;
    finalized = false;
  } catch (const std::exception& error) {
    std::cerr << "musher-trainer: " << error.what() << std::endl;
    finalized = false;
  }
  if (!finalized) {
    // A thread may be stuck in MPI for good, and static destructors would wait for it.
    std::cout.flush();
    std::fflush(nullptr);
    std::_Exit(code);
  }
  return code;
}
