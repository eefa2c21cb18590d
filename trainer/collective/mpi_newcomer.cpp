#include "trainer/collective/mpi_newcomer.h"

#include <atomic>
#include <chrono>
#include <thread>
#include <utility>

#include "trainer/collective/mpi_group.h"

namespace musher {
namespace {

constexpr int kLevelTag = 1;  // leader to newcomer: how many communicators the leader has made
constexpr int kReadyTag = 2;  // newcomer to leader: I am ready, and who I am
constexpr int kCallTag = 3;   // leader to newcomer: come, or go home
constexpr int kCommunicatorsOfMeeting = 3;
constexpr int kCome = 1;
constexpr int kGoHome = 0;
constexpr std::chrono::milliseconds kPoll{2};  // these waits last seconds and must not cost a core
constexpr auto kTakeInLimit = std::chrono::seconds(30);

/// A message, unless its sender is gone or `stop` says to give up.
template <typename Message, typename Stop>
bool receive(MPI_Comm comm, int from, int tag, Message& message, Stop stop) {
  MPI_Request request = MPI_REQUEST_NULL;
  if (MPI_Irecv(&message, sizeof message, MPI_BYTE, from, tag, comm, &request) != MPI_SUCCESS) {
    return false;
  }
  for (int done = 0;;) {
    if (MPI_Test(&request, &done, MPI_STATUS_IGNORE) != MPI_SUCCESS) return false;
    if (done != 0) return true;
    if (stop()) {
      MPI_Cancel(&request);
      MPI_Request_free(&request);
      return false;
    }
    std::this_thread::sleep_for(kPoll);
  }
}

/// Waits for nobody: MPI keeps what is so short.
template <typename Message>
bool send(MPI_Comm comm, int to, int tag, const Message& message) {
  return MPI_Send(&message, sizeof message, MPI_BYTE, to, tag, comm) == MPI_SUCCESS;
}

}  // namespace

/// Shared with the thread, which may hang in MPI for longer than the Newcomer lives.
struct Newcomer::State {
  enum Step { kStarting, kReady, kFailed, kCalled };
  std::atomic<Step> step{kStarting};
  std::atomic<bool> unwanted{false};
  MPI_Comm peer = MPI_COMM_NULL;  ///< set before kReady
  ProcessIdentity process;        ///< likewise

  void start(std::vector<std::string> command, CommunicatorCount& communicators) {
    std::vector<char*> arguments;
    for (std::size_t i = 1; i < command.size(); ++i) arguments.push_back(command[i].data());
    arguments.push_back(nullptr);
    MPI_Comm child = MPI_COMM_NULL;
    int code = MPI_SUCCESS;
    communicators.add(kCommunicatorsOfMeeting);
    if (MPI_Comm_spawn(command[0].c_str(), arguments.data(), 1, MPI_INFO_NULL, 0, MPI_COMM_SELF,
                       &child, &code) != MPI_SUCCESS ||
        code != MPI_SUCCESS) {
      step = kFailed;
      return;
    }
    MPI_Comm_set_errhandler(child, MPI_ERRORS_RETURN);
    if (MPI_Intercomm_merge(child, /*high=*/0, &peer) != MPI_SUCCESS) {
      step = kFailed;
      return;
    }
    MPI_Comm_set_errhandler(peer, MPI_ERRORS_RETURN);
    send(peer, 1, kLevelTag, communicators.value());
    const bool came = receive(peer, 1, kReadyTag, process, [this] { return unwanted.load(); });
    step = came ? kReady : kFailed;
    if (unwanted) send_home();
  }

  void send_home() const {
    if (peer != MPI_COMM_NULL) send(peer, 1, kCallTag, kGoHome);
  }
};

Newcomer::Newcomer(const MpiRuntime& mpi, std::vector<std::string> command)
    : state_(std::make_shared<State>()) {
  // Detached: MPI_Comm_spawn has no time-out, and a job that ends must not wait for it.
  std::thread([state = state_, command = std::move(command), count = mpi.communicators()] {
    state->start(command, *count);
  }).detach();
}

Newcomer::~Newcomer() {
  state_->unwanted = true;
  if (state_->step == State::kReady) state_->send_home();
}

bool Newcomer::ready() const {
  return state_->step == State::kReady;
}

bool Newcomer::failed() const {
  return state_->step == State::kFailed;
}

const ProcessIdentity& Newcomer::process() const {
  return state_->process;
}

MPI_Comm Newcomer::call_in() {
  state_->step = State::kCalled;
  send(state_->peer, 1, kCallTag, kCome);
  return state_->peer;
}

Applicant::Applicant(const MpiRuntime& mpi) : mpi_(mpi) {
  MPI_Comm parent = MPI_COMM_NULL;
  MPI_Comm_get_parent(&parent);
  MPI_Comm_set_errhandler(parent, MPI_ERRORS_RETURN);
  if (MPI_Intercomm_merge(parent, /*high=*/1, &peer_) != MPI_SUCCESS) {
    throw PeerFailure("who started this process is gone");
  }
  MPI_Comm_set_errhandler(peer_, MPI_ERRORS_RETURN);
  mpi.communicators()->add(kCommunicatorsOfMeeting);
  std::int64_t most = 0;
  const Deadline deadline = Deadline::after(kTakeInLimit);
  if (!receive(peer_, 0, kLevelTag, most, [&] { return deadline.expired(); })) {
    throw PeerFailure("who started this process is gone");
  }
  mpi.communicators()->raise_to(most);
}

std::unique_ptr<Collective> Applicant::enter(const MpiOptions& options, Deadline deadline) {
  int message = kGoHome;
  if (!send(peer_, 0, kReadyTag, ProcessIdentity::of_this_process())) return nullptr;
  const bool called = receive(peer_, 0, kCallTag, message, [&] { return deadline.expired(); });
  if (!called || message != kCome) return nullptr;
  return make_newcomer_collective(mpi_, peer_, options, Deadline::after(kTakeInLimit));
}

}  // namespace musher
