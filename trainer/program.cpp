#include "trainer/program.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <new>
#include <optional>
#include <sstream>
#include <string>
#include <thread>

#include <fmt/format.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include "common/error.h"
#include "coordinator/embedded.h"
#include "launch/rank_output.h"
#include "rpc/tls.h"
#include "storage/config.h"
#include "trainer/client/coordinator_client.h"
#include "trainer/collective/mpi.h"
#include "trainer/collective/mpi_newcomer.h"
#include "trainer/memory.h"
#include "trainer/options.h"
#include "trainer/run.h"
#include "trainer/tagged_output.h"

namespace musher {
namespace {

constexpr auto kStartTimeout = std::chrono::seconds(60);
constexpr auto kEndTimeout = std::chrono::seconds(30);
constexpr auto kEnterTimeout = std::chrono::minutes(10);
constexpr auto kFinalizeTimeout = std::chrono::seconds(10);
constexpr auto kFinalizeTimeoutAfterChange = std::chrono::milliseconds(200);
constexpr int kExitFailed = 1;
constexpr int kExitUsage = 2;

/// Takes SIGTERM out of every thread's way and turns it into a request to stop. Made before any
/// other thread, so that all inherit the mask.
class StopSignal {
 public:
  explicit StopSignal(StopRequest& request) {
    sigemptyset(&set_);
    sigaddset(&set_, SIGTERM);
    sigaddset(&set_, SIGINT);
    pthread_sigmask(SIG_BLOCK, &set_, nullptr);
    thread_ = std::jthread([this, &request](const std::stop_token& stop) {
      while (!stop.stop_requested()) {
        const timespec wait{0, 100'000'000};
        siginfo_t info{};
        const int number = sigtimedwait(&set_, &info, &wait);
        if (number > 0) request.raise({describe(number, info)});
      }
    });
  }

 private:
  static std::string describe(int number, const siginfo_t& info) {
    return fmt::format("process {} was told to end by signal {} ({}) from process {}", getpid(),
                       number, strsignal(number), info.si_pid);
  }

  sigset_t set_{};
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
  std::string file_channels;             ///< of a run by hand, a line each
  std::int64_t metrics_every_steps = 0;  ///< of a run by hand
};

std::string read_token(const std::string& path) {
  return read_private_line(path, "--token-file");
}

Rendezvous given_rendezvous(const TrainerOptions& options, const MpiRuntime& mpi) {
  RankIdentity identity{options.job_name, options.attempt, mpi.world_rank(), mpi.world_size(),
                        read_token(options.token_file)};
  return {options.coordinator, identity, ""};
}

/// A run by hand: rank 0 holds the coordinator and tells the others where it is, or, with an empty
/// address, that the job is bad.
std::optional<Rendezvous> hand_made_rendezvous(const TrainerOptions& options, const MpiRuntime& mpi,
                                               Collective& world,
                                               std::unique_ptr<EmbeddedCoordinator>& coordinator) {
  Rendezvous rendezvous;
  if (mpi.world_rank() == 0) {
    try {
      if (mpi.local_size() < mpi.world_size() && options.tls.empty()) {
        throw Error(
            ErrorCode::kInvalidArgument,
            "the ranks are on several hosts, so they reach rank 0 over the network, which "
            "needs TLS: make certificates with `musher certs DIR`, bring that folder to the "
            "same path on each host, and give --tls DIR");
      }
      coordinator = std::make_unique<EmbeddedCoordinator>(
          options.job_file, mpi.world_size(), StorageConfig::from_environment(),
          EmbeddedNetwork{options.tls, options.advertise});
      rendezvous.address = coordinator->address();
      rendezvous.identity.job = coordinator->job_name();
      rendezvous.identity.token = coordinator->token();
      rendezvous.identity.attempt = coordinator->attempt();
      for (const std::string& name : coordinator->file_channels()) {
        rendezvous.file_channels += name + "\n";
      }
      rendezvous.metrics_every_steps = coordinator->metrics_every_steps();
    } catch (const Error& error) {
      std::cerr << "musher-trainer: " << error.what() << std::endl;
    }
  }
  const Deadline deadline = Deadline::after(kStartTimeout);
  broadcast_text(world, rendezvous.address, deadline);
  if (rendezvous.address.empty()) return std::nullopt;
  broadcast_text(world, rendezvous.identity.job, deadline);
  broadcast_text(world, rendezvous.identity.token, deadline);
  broadcast_text(world, rendezvous.file_channels, deadline);
  world.broadcast({&rendezvous.metrics_every_steps, 1, DType::kInt64}, 0, deadline);
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

/// How this process is to leave.
struct End {
  int code = 0;
  bool at_once = false;          ///< others of MPI's world go on: MPI_Finalize would wait for them
  bool members_changed = false;  ///< see RankEnd
};

/// A rank that others have started beside training.
End run_newcomer(const TrainerOptions& options, const AddedModels& models, const MpiRuntime& mpi,
                 StopRequest& stop, const MetadataConfig& metadata) {
  Applicant applicant(mpi);
  RankIdentity identity{options.job_name, options.attempt, options.newcomer, mpi.world_size(),
                        read_token(options.token_file)};
  CoordinatorClient client(options.coordinator, identity);
  const RankRole role{mpi, options.newcomer, std::max(0, options.gpu), /*newcomer=*/true};
  const auto enter = [&] { return applicant.enter({}, Deadline::after(kEnterTimeout)); };
  const RankEnd end = run_rank(options, models, role, enter, client, stop, metadata);
  return {0, end.outcome == Outcome::kLeft, end.members_changed};
}

End run(TrainerOptions options, const AddedModels& models, const MpiRuntime& mpi, StopRequest& stop,
        const MetadataConfig& metadata) {
  auto world = make_mpi_collective(mpi, {}, Deadline::after(kStartTimeout));
  std::unique_ptr<EmbeddedCoordinator> coordinator;
  std::optional<Rendezvous> rendezvous;
  if (options.job_file.empty()) {
    rendezvous = given_rendezvous(options, mpi);
  } else {
    rendezvous = hand_made_rendezvous(options, mpi, *world, coordinator);
    if (!rendezvous) return {kExitUsage, false, false};
    options.coordinator = rendezvous->address;
    options.job_name = rendezvous->identity.job;
    options.attempt = rendezvous->identity.attempt;
    options.metrics_every_steps = rendezvous->metrics_every_steps;
    std::istringstream names(rendezvous->file_channels);
    for (std::string name; std::getline(names, name);) options.file_channels.push_back(name);
  }

  CoordinatorClient client(rendezvous->address, rendezvous->identity);
  End end;
  try {
    const RankRole role{mpi, mpi.world_rank(), mpi.local_rank()};
    const auto enter = [&] { return std::move(world); };
    const RankEnd run_end = run_rank(options, models, role, enter, client, stop, metadata);
    end = {0, run_end.outcome == Outcome::kLeft, run_end.members_changed};
  } catch (const PeerFailure& failure) {
    // The attempt is lost, not the job: the coordinator learns of it from this process's end.
    std::cerr << "musher-trainer: rank " << mpi.world_rank()
              << ": the ranks did not find together again: " << failure.what() << std::endl;
    end = {kExitFailed, true, true};
  } catch (const std::bad_alloc&) {
    throw;  // this host's trouble, not the job's
  } catch (const std::exception& error) {
    report_failure(client, mpi.world_rank(), error.what());
    end = {kExitFailed, true, true};
  }
  if (coordinator) {
    coordinator->wait_over(Deadline::after(kEndTimeout));
    end.code = coordinator->exit_code();
  }
  return end;
}

/// Known before MPI is: what that prints belongs to the rank too.
int rank_of(const TrainerOptions& options) {
  if (options.newcomer >= 0) return options.newcomer;
  const char* rank = std::getenv("OMPI_COMM_WORLD_RANK");
  if (rank == nullptr) {
    throw Error(
        ErrorCode::kInvalidArgument,
        "--output-folder is for ranks that mpirun started: OMPI_COMM_WORLD_RANK is not set");
  }
  return std::atoi(rank);
}

/// A thread may be stuck in MPI for good, and static destructors would wait for it.
[[noreturn]] void leave(int code) {
  std::cout.flush();
  std::fflush(nullptr);
  std::_Exit(code);
}

}  // namespace

int run_trainer(int argc, char** argv, const AddedModels& models) {
  int code = kExitFailed;
  bool finalized = false;
  try {
    const auto options = parse_trainer_options(argc, argv);
    if (!options) return 0;
    keep_freed_memory();
    StopRequest stop;
    const StopSignal signals(stop);
    const MetadataConfig metadata = MetadataConfig::from_environment();
    std::optional<RankOutput> output;
    std::optional<TaggedOutput> tagged;
    if (!options->output_folder.empty()) {
      output.emplace(options->output_folder, rank_of(*options));
    } else if (options->newcomer >= 0) {
      tagged.emplace(options->newcomer);
    }
    MpiRuntime mpi;
    const End end = mpi.is_newcomer() ? run_newcomer(*options, models, mpi, stop, metadata)
                                      : run(*options, models, mpi, stop, metadata);
    code = end.code;
    const auto limit = end.members_changed ? Deadline::after(kFinalizeTimeoutAfterChange)
                                           : Deadline::after(kFinalizeTimeout);
    if (!end.at_once) finalized = mpi.finalize(limit);
    if (!finalized) {
      tagged.reset();
      leave(code);
    }
  } catch (const Error& error) {
    std::cerr << "musher-trainer: " << error.what() << std::endl;
    code = error.code() == ErrorCode::kInvalidArgument ? kExitUsage : kExitFailed;
  } catch (const std::bad_alloc&) {
    // As if the kernel had ended it: the other ranks go on. An exit code would make mpirun end
    // them.
    std::cerr << "musher-trainer: out of memory" << std::endl;
    std::abort();
  } catch (const std::exception& error) {
    std::cerr << "musher-trainer: " << error.what() << std::endl;
  }
  if (!finalized) leave(code);
  return code;
}

}  // namespace musher
