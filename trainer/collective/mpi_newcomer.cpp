#include "trainer/collective/mpi_newcomer.h"

#include <atomic>
#include <chrono>
#include <thread>
#include <utility>

#include "trainer/collective/mpi_group.h"

namespace musher {
namespace {

constexpr int kReadyTag = 2;  // newcomer to leader: I am ready
constexpr int kCallTag = 3;   // leader to newcomer: come, or go home
constexpr int kCome = 1;
constexpr int kGoHome = 0;
constexpr std::chrono::milliseconds kPoll{2};  // these waits last seconds and must not cost a core
constexpr auto kTakeInLimit = std::chrono::seconds(30);

/// The newcomer's message, unless its sender is gone or `stop` says to give up.
template <typename Stop>
bool receive(MPI_Comm comm, int from, int tag, int& message, Stop stop) {
  MPI_Request request = MPI_REQUEST_NULL;
  if (MPI_Irecv(&message, 1, MPI_INT, from, tag, comm, &request) != MPI_SUCCESS) return false;
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

}  // namespace

/// Shared with the thread, which may hang in MPI for longer than the Newcomer lives.
struct Newcomer::State {
  enum Step { kStarting, kReady, kFailed, kCalled };
  std::atomic<Step> step{kStarting};
  std::atomic<bool> unwanted{false};
  MPI_Comm peer = MPI_COMM_NULL;  ///< set before kReady

  void start(std::vector<std::string> command) {
    std::vector<char*> arguments;
    for (std::size_t i = 1; i < command.size(); ++i) arguments.push_back(command[i].data());
    arguments.push_back(nullptr);
    MPI_Comm child = MPI_COMM_NULL;
    int code = MPI_SUCCESS, unused = 0;
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
    const bool came = receive(peer, 1, kReadyTag, unused, [this] { return unwanted.load(); });
    step = came ? kReady : kFailed;
    if (unwanted) send_home();
  }

  void send_home() const {
    // Buffered by MPI, as an int is: it waits for nobody.
    if (peer != MPI_COMM_NULL) MPI_Send(&kGoHome, 1, MPI_INT, 1, kCallTag, peer);
  }
};

Newcomer::Newcomer(std::vector<std::string> command) : state_(std::make_shared<State>()) {
  // Detached: MPI_Comm_spawn has no time-out, and a job that ends must not wait for it.
  std::thread([state = state_, command = std::move(command)] { state->start(command); }).detach();
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

MPI_Comm Newcomer::call_in() {
  state_->step = State::kCalled;
  MPI_Send(&kCome, 1, MPI_INT, 1, kCallTag, state_->peer);
  return state_->peer;
}

Applicant::Applicant() {
  MPI_Comm parent = MPI_COMM_NULL;
  MPI_Comm_get_parent(&parent);
  MPI_Comm_set_errhandler(parent, MPI_ERRORS_RETURN);
  if (MPI_Intercomm_merge(parent, /*high=*/1, &peer_) != MPI_SUCCESS) {
    throw PeerFailure("who started this process is gone");
  }
  MPI_Comm_set_errhandler(peer_, MPI_ERRORS_RETURN);
}

std::unique_ptr<Collective> Applicant::enter(const MpiOptions& options, Deadline deadline) {
  int message = kCome;
  if (MPI_Send(&message, 1, MPI_INT, 0, kReadyTag, peer_) != MPI_SUCCESS) return nullptr;
  const bool called = receive(peer_, 0, kCallTag, message, [&] { return deadline.expired(); });
  if (!called || message != kCome) return nullptr;
  return make_newcomer_collective(peer_, options, Deadline::after(kTakeInLimit));
}

}  // namespace musher
