#include "trainer/collective/mpi.h"

#include <algorithm>
#include <climits>
#include <future>
#include <utility>

#include <fmt/format.h>

#include "common/error.h"
#include "trainer/collective/communication_thread.h"
#include "trainer/collective/mpi_group.h"
#include "trainer/collective/mpi_newcomer.h"

namespace musher {
namespace {

constexpr std::chrono::milliseconds kLookForDeaths{20};

/// Waits for an operation; past the deadline cuts it off, and returns when nothing writes to its
/// buffer any more.
void finish(std::future<void>& done, MpiGroup& group, std::string_view operation,
            Deadline deadline) {
  do {
    const auto until = std::min(deadline.when(), Deadline::Clock::now() + kLookForDeaths);
    if (done.wait_until(until) == std::future_status::ready) return done.get();
    group.look_for_deaths();
  } while (!deadline.expired());
  const auto reason = fmt::format("rank {} of {}: {} did not end by its deadline", group.rank(),
                                  group.size(), operation);
  group.fail(reason);
  done.wait_for(MpiGroup::kLetGo);
  done = {};
  throw PeerFailure(reason);
}

class MpiWork final : public Work {
 public:
  MpiWork(std::shared_ptr<MpiGroup> group, std::future<void> done)
      : group_(std::move(group)), done_(std::move(done)) {}
  ~MpiWork() override {
    if (!done_.valid()) return;
    if (done_.wait_for(std::chrono::seconds(0)) == std::future_status::ready) return;
    group_->fail(
        fmt::format("rank {} of {} gave up an all-reduce", group_->rank(), group_->size()));
    done_.wait_for(MpiGroup::kLetGo);
  }
  void wait(Deadline deadline) override { finish(done_, *group_, "all-reduce", deadline); }

 private:
  std::shared_ptr<MpiGroup> group_;
  std::future<void> done_;
};

class MpiCollective final : public Collective {
 public:
  explicit MpiCollective(std::shared_ptr<MpiGroup> group) : group_(std::move(group)) {}

  int rank() const override { return group_->rank(); }
  int size() const override { return group_->size(); }

  std::shared_ptr<void> allocate(std::size_t bytes, Deadline deadline) override {
    auto memory = std::make_shared<std::shared_ptr<void>>();
    auto done = thread_.post([group = group_, memory, bytes] { *memory = group->allocate(bytes); });
    finish(done, *group_, "allocation", deadline);
    return *memory;
  }

  std::unique_ptr<Work> all_reduce(Buffer buffer) override {
    auto done = thread_.post([group = group_, buffer] { group->all_reduce(buffer); });
    return std::make_unique<MpiWork>(group_, std::move(done));
  }

  void broadcast(Buffer buffer, int root, Deadline deadline) override {
    if (root < 0 || root >= size()) {
      throw Error(ErrorCode::kInvalidArgument,
                  fmt::format("broadcast from rank {}: there are {} ranks", root, size()));
    }
    auto done = thread_.post([group = group_, buffer, root] { group->broadcast(buffer, root); });
    finish(done, *group_, "broadcast", deadline);
  }

  void all_gather(Buffer send, Buffer receive, Deadline deadline) override {
    const std::size_t expected = send.count * static_cast<std::size_t>(size());
    if (receive.count != expected || receive.dtype != send.dtype || send.count > INT_MAX) {
      throw Error(
          ErrorCode::kInvalidArgument,
          fmt::format(
              "all-gather of {} elements into {}: there must be room for {} of the same type",
              send.count, receive.count, expected));
    }
    auto done = thread_.post([group = group_, send, receive] { group->all_gather(send, receive); });
    finish(done, *group_, "all-gather", deadline);
  }

  std::string transport() const override { return group_->transport(); }
  Collective& host() override { return *this; }
  std::optional<std::string> failure() override { return group_->failure(); }
  void abort() override { group_->fail(fmt::format("rank {} of {} aborted", rank(), size())); }

  std::unique_ptr<Collective> shrink(Deadline deadline) override {
    abort();
    auto next = std::make_shared<std::shared_ptr<MpiGroup>>();
    auto done =
        thread_.post([group = group_, next, deadline] { *next = group->survivors(deadline); });
    finish(done, *group_, "shrink", deadline);
    return std::make_unique<MpiCollective>(std::move(*next));
  }

  std::unique_ptr<Collective> grow(Newcomer* newcomer, Deadline deadline) override {
    if (newcomer != nullptr) group_->watch(newcomer->process());
    const MPI_Comm peer = newcomer != nullptr ? newcomer->call_in() : MPI_COMM_NULL;
    auto next = std::make_shared<std::shared_ptr<MpiGroup>>();
    auto done = thread_.post([group = group_, next, peer] { *next = group->with_newcomer(peer); });
    finish(done, *group_, "growth", deadline);
    return std::make_unique<MpiCollective>(std::move(*next));
  }

 private:
  std::shared_ptr<MpiGroup> group_;
  CommunicationThread thread_;
};

/// The collective over the group that `make` returns, on a thread of its own.
template <typename Make>
std::unique_ptr<Collective> made_by(Make make, const char* late, Deadline deadline) {
  CommunicationThread thread;
  auto group = std::make_shared<std::shared_ptr<MpiGroup>>();
  auto done = thread.post([group, make] { *group = make(); });
  if (done.wait_until(deadline.when()) != std::future_status::ready) throw PeerFailure(late);
  done.get();
  return std::make_unique<MpiCollective>(std::move(*group));
}

}  // namespace

std::unique_ptr<Collective> make_mpi_collective(const MpiRuntime& runtime,
                                                const MpiOptions& options, Deadline deadline) {
  const MpiGroup::Context context{options, runtime.communicators()};
  return made_by([context, deadline] { return MpiGroup::of_world(context, deadline); },
                 "not all ranks came to the first collective by its deadline", deadline);
}

std::unique_ptr<Collective> make_newcomer_collective(const MpiRuntime& runtime, MPI_Comm peer,
                                                     const MpiOptions& options, Deadline deadline) {
  const MpiGroup::Context context{options, runtime.communicators()};
  return made_by([peer, context] { return MpiGroup::as_newcomer(peer, context); },
                 "the ranks did not take this newcomer in by the deadline", deadline);
}

}  // namespace musher
