// One rank of a collective test: run by mpirun through run_ranks.py, with the name of a scenario.
// It writes what it saw to <out>/rank<world rank>, ending in the line "passed"; run_ranks.py reads
// that, because mpirun's exit code says nothing once a rank was killed.
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <functional>
#include <map>
#include <numeric>
#include <string>
#include <thread>
#include <vector>

#include <fmt/format.h>
#include <unistd.h>

#include "common/checksum.h"
#include "common/error.h"
#include "common/random.h"
#include "trainer/collective/mpi.h"
#include "trainer/collective/mpi_newcomer.h"
#include "trainer/collective/summation.h"

namespace musher {
namespace {

constexpr DType kAllTypes[] = {DType::kFloat32, DType::kFloat64, DType::kBFloat16,
                               DType::kFloat16, DType::kInt64,   DType::kUInt8};
// Around the edges of cache lines, slices and pieces; zero too.
constexpr std::size_t kSizes[] = {0, 1, 3, 17, 63, 1000, 16385, 65537, 200003};
/// Floats of a buffer whose all-reduce takes long enough to be hit.
constexpr std::size_t kCount = 2500000;

Deadline soon() {
  return Deadline::after(std::chrono::seconds(60));
}

struct Test {
  MpiRuntime& runtime;
  std::unique_ptr<Collective> ranks;
  std::ofstream out;
  std::string folder;
  std::vector<std::string> command;  ///< of a newcomer

  int rank() const { return ranks->rank(); }
  int size() const { return ranks->size(); }
  bool is_last() const { return rank() == size() - 1; }
  void say(const std::string& line) { out << line << std::endl; }
};

void require(bool condition, const std::string& what) {
  if (!condition) throw Error(ErrorCode::kInternal, what);
}

void put(DType dtype, void* data, std::size_t index, double value) {
  switch (dtype) {
    case DType::kFloat32:
      static_cast<float*>(data)[index] = static_cast<float>(value);
      break;
    case DType::kFloat64:
      static_cast<double*>(data)[index] = value;
      break;
    case DType::kBFloat16:
      static_cast<std::uint16_t*>(data)[index] = to_bfloat16(static_cast<float>(value));
      break;
    case DType::kFloat16:
      static_cast<std::uint16_t*>(data)[index] = to_float16(static_cast<float>(value));
      break;
    case DType::kInt64:
      static_cast<std::int64_t*>(data)[index] = static_cast<std::int64_t>(value);
      break;
    case DType::kUInt8:
      static_cast<std::uint8_t*>(data)[index] = static_cast<std::uint8_t>(value);
      break;
  }
}

/// Small whole numbers, whose sums every type holds exactly whatever the order.
double whole(int rank, std::size_t index) {
  return static_cast<double>((index * 0x9e3779b97f4a7c15ULL >> (40 + 3 * rank)) & 15);
}

void fill(const Buffer& buffer, int rank) {
  for (std::size_t i = 0; i < buffer.count; ++i) put(buffer.dtype, buffer.data, i, whole(rank, i));
}

void require_sum(const Buffer& buffer, const std::vector<int>& ranks, const std::string& where) {
  std::vector<std::byte> expected(buffer.bytes());
  for (std::size_t i = 0; i < buffer.count; ++i) {
    double sum = 0;
    for (int rank : ranks) sum += whole(rank, i);
    put(buffer.dtype, expected.data(), i, sum);
  }
  const std::size_t size = size_of(buffer.dtype);
  for (std::size_t i = 0; i < buffer.count; ++i) {
    require(std::memcmp(static_cast<std::byte*>(buffer.data) + i * size, expected.data() + i * size,
                        size) == 0,
            fmt::format("{}: element {} of {} of type {} is not the sum", where, i, buffer.count,
                        static_cast<int>(buffer.dtype)));
  }
}

std::vector<int> up_to(int size) {
  std::vector<int> ranks(static_cast<std::size_t>(size));
  std::iota(ranks.begin(), ranks.end(), 0);
  return ranks;
}

void require_right_sums(Test& test, const std::string& where) {
  auto allocated = test.ranks->allocate(1 << 20, soon());
  for (DType dtype : kAllTypes) {
    for (std::size_t count : {std::size_t{5}, std::size_t{70001}}) {
      std::vector<std::byte> own(count * size_of(dtype));
      for (void* data : {static_cast<void*>(own.data()), allocated.get()}) {
        const Buffer buffer{data, count, dtype};
        fill(buffer, test.rank());
        test.ranks->all_reduce(buffer)->wait(soon());
        require_sum(buffer, up_to(test.size()), where);
      }
    }
  }
}

void sums(Test& test) {
  test.say("transport: " + test.ranks->transport());
  const std::size_t room = kSizes[std::size(kSizes) - 1] * 8 + 64;
  auto allocated = test.ranks->allocate(room, soon());
  std::vector<std::byte> own(room);
  for (DType dtype : kAllTypes) {
    for (std::size_t count : kSizes) {
      // At an offset, too: a bucket begins where the one before ends.
      for (std::size_t offset : {std::size_t{0}, std::size_t{24}}) {
        for (std::byte* data : {own.data(), static_cast<std::byte*>(allocated.get())}) {
          const Buffer buffer{data + offset, count, dtype};
          fill(buffer, test.rank());
          test.ranks->all_reduce(buffer)->wait(soon());
          require_sum(buffer, up_to(test.size()), "all-reduce");
        }
      }
    }
  }
}

void outstanding(Test& test) {
  constexpr int kWorks = 60;
  std::vector<std::shared_ptr<void>> memory;
  std::vector<Buffer> buffers;
  for (int i = 0; i < kWorks; ++i) {
    const std::size_t count = kSizes[static_cast<std::size_t>(i) % std::size(kSizes)];
    memory.push_back(i % 2 == 0 ? test.ranks->allocate(count * 4 + 4, soon())
                                : std::shared_ptr<void>(std::malloc(count * 4 + 4), std::free));
    buffers.push_back({memory.back().get(), count, DType::kFloat32});
  }
  for (int round = 0; round < 2; ++round) {
    std::vector<std::unique_ptr<Work>> works;
    for (const Buffer& buffer : buffers) {
      fill(buffer, test.rank());
      works.push_back(test.ranks->all_reduce(buffer));
    }
    for (auto& work : works) work->wait(soon());
    for (const Buffer& buffer : buffers) require_sum(buffer, up_to(test.size()), "outstanding");
  }
}

void others(Test& test) {
  for (DType dtype : kAllTypes) {
    for (std::size_t count : kSizes) {
      std::vector<std::byte> data(count * size_of(dtype)),
          all(data.size() * static_cast<std::size_t>(test.size()));
      const Buffer buffer{data.data(), count, dtype};
      for (int root = 0; root < test.size(); ++root) {
        fill(buffer, test.rank());
        test.ranks->broadcast(buffer, root, soon());
        require_sum(buffer, {root}, "broadcast");
      }
      fill(buffer, test.rank());
      test.ranks->all_gather(
          buffer, {all.data(), count * static_cast<std::size_t>(test.size()), dtype}, soon());
      for (int rank = 0; rank < test.size(); ++rank) {
        require_sum({all.data() + static_cast<std::size_t>(rank) * data.size(), count, dtype},
                    {rank}, "all-gather");
      }
    }
  }
}

/// Sums whose rounding depends on the order; run_ranks.py compares the digests of all ranks and of
/// two runs.
void identity(Test& test) {
  std::uint64_t digest = 0;
  auto allocated = test.ranks->allocate(sizeof(double) * 300001, soon());
  for (int round = 0; round < 6; ++round) {
    for (DType dtype : kAllTypes) {
      for (std::size_t count : {std::size_t{17}, std::size_t{16385}, std::size_t{300001}}) {
        std::vector<std::byte> own(count * size_of(dtype));
        const Buffer buffer{round % 2 == 0 ? own.data() : allocated.get(), count, dtype};
        Random random({7, static_cast<std::uint64_t>(test.rank()), count});
        for (std::size_t i = 0; i < count; ++i) put(dtype, buffer.data, i, random.uniform(0, 60));
        test.ranks->all_reduce(buffer)->wait(soon());
        digest = hash64({static_cast<const char*>(buffer.data), buffer.bytes()}, digest);
      }
    }
  }
  test.say(fmt::format("digest {}", hex64(digest)));
}

std::int64_t now_us() {
  return std::chrono::duration_cast<std::chrono::microseconds>(
             Deadline::Clock::now().time_since_epoch())
      .count();
}

/// All-reduces until a PeerFailure comes; what it says.
std::string reduce_until_failure(Test& test, Deadline each) {
  std::vector<float> own(kCount);
  try {
    while (true) test.ranks->all_reduce({own.data(), own.size(), DType::kFloat32})->wait(each);
  } catch (const PeerFailure& failure) {
    test.say(fmt::format("failure at {} us: {}", now_us(), failure.what()));
    return failure.what();
  }
}

void die_in_all_reduce(Test& test, std::size_t count) {
  auto memory = test.ranks->allocate(count * 4, soon());
  const Buffer buffer{memory.get(), count, DType::kFloat32};
  for (int i = 0; i < 5; ++i) test.ranks->all_reduce(buffer)->wait(soon());
  auto work = test.ranks->all_reduce(buffer);
  test.say(fmt::format("death at {} us", now_us()));
  kill(getpid(), SIGKILL);
}

void survive(Test& test, int expected_size) {
  test.ranks = test.ranks->shrink(soon());
  while (test.size() > expected_size) {  // the other death came after this shrink
    reduce_until_failure(test, soon());
    test.ranks = test.ranks->shrink(soon());
  }
  require(test.size() == expected_size, fmt::format("{} ranks after the shrink", test.size()));
  require(!test.ranks->failure().has_value(), "the new collective is broken from the start");
  require_right_sums(test, "after the shrink");
}

void killed(Test& test, bool last) {
  const int victim = last ? test.size() - 1 : 0;
  if (test.rank() == victim) die_in_all_reduce(test, kCount);
  auto memory = test.ranks->allocate(kCount * sizeof(float), soon());
  std::string reason;
  try {
    while (true) test.ranks->all_reduce({memory.get(), kCount, DType::kFloat32})->wait(soon());
  } catch (const PeerFailure& failure) {
    test.say(fmt::format("failure at {} us: {}", now_us(), failure.what()));
    reason = failure.what();
  }
  require(reason.find("deadline") == std::string::npos,
          "only the deadline noticed the death: " + reason);
  require(test.ranks->failure().has_value(), "failure() says that all is well");
  survive(test, test.size() - 1);
  // Memory from before the death is reduced as before.
  const Buffer old{memory.get(), 70001, DType::kFloat32};
  fill(old, test.rank());
  test.ranks->all_reduce(old)->wait(soon());
  require_sum(old, up_to(test.size()), "old memory");
}

/// The last rank dies in an all-reduce that the others have not come to: what it sent is with them,
/// and none of them has asked for it.
void ahead_killed(Test& test) {
  std::vector<float> data(kCount);
  if (test.is_last()) {
    auto work = test.ranks->all_reduce({data.data(), data.size(), DType::kFloat32});
    std::this_thread::sleep_for(std::chrono::milliseconds(200));  // nothing tells what has arrived
    test.say(fmt::format("death at {} us", now_us()));
    kill(getpid(), SIGKILL);
  }
  const Deadline deadline = soon();
  while (!test.ranks->failure()) {
    require(!deadline.expired(), "nobody told of the death");
    std::this_thread::yield();
  }
  test.say(fmt::format("failure at {} us", now_us()));
  survive(test, test.size() - 1);
}

void two_killed(Test& test) {
  const int target = test.size() - 2;
  if (test.rank() == 0) die_in_all_reduce(test, kCount);
  if (test.is_last()) {
    auto memory = test.ranks->allocate(kCount * sizeof(float), soon());
    reduce_until_failure(test, soon());
    kill(getpid(), SIGKILL);  // in the middle of the others' recovery
  }
  auto memory = test.ranks->allocate(kCount * sizeof(float), soon());
  reduce_until_failure(test, soon());
  survive(test, target);
}

void stopped(Test& test) {
  std::vector<std::int64_t> pids(static_cast<std::size_t>(test.size()));
  std::int64_t own = getpid();
  test.ranks->all_gather({&own, 1, DType::kInt64}, {pids.data(), pids.size(), DType::kInt64},
                         soon());
  if (test.is_last()) raise(SIGSTOP);
  const std::string reason =
      reduce_until_failure(test, Deadline::after(std::chrono::milliseconds(500)));
  require(reason.find("died") == std::string::npos, "a stopped rank was taken for dead: " + reason);
  if (test.rank() == 0) kill(static_cast<pid_t>(pids.back()), SIGKILL);  // as the coordinator would
  survive(test, test.size() - 1);
}

void aborted(Test& test) {
  if (test.is_last()) {
    test.ranks->abort();
    test.ranks->abort();
  }
  std::vector<float> data(100000);
  bool failed = false;
  try {
    for (int i = 0; i < 3; ++i)
      test.ranks->all_reduce({data.data(), data.size(), DType::kFloat32})->wait(soon());
  } catch (const PeerFailure& failure) {
    failed = true;
  }
  require(failed, "an aborted collective went on");
  survive(test, test.size());
}

/// A rank whose control flow differs gets an error, as do the others, and not a wrong sum.
void mismatch(Test& test) {
  std::vector<float> data(20000);
  try {
    test.ranks->all_reduce({data.data(), test.is_last() ? 19999UL : 20000UL, DType::kFloat32})
        ->wait(soon());
  } catch (const Error& error) {
    require(std::string(error.what()).find("all ranks must call the same") != std::string::npos,
            error.what());
    return;
  }
  throw Error(ErrorCode::kInternal, "buffers of different sizes were summed");
}

/// All go on reducing, as training does, until rank 0's newcomer is ready; then they take it in.
void take_in_newcomer(Test& test, bool dead = false) {
  std::unique_ptr<Newcomer> newcomer;
  if (test.rank() == 0) newcomer = std::make_unique<Newcomer>(test.runtime, test.command);
  for (float ready = 0; ready == 0;) {
    require(!newcomer || !newcomer->failed(), "the newcomer could not be started");
    ready = newcomer && newcomer->ready() ? 1 : 0;
    test.ranks->all_reduce({&ready, 1, DType::kFloat32})->wait(soon());
  }
  if (newcomer && dead) kill(static_cast<pid_t>(newcomer->process().pid), SIGKILL);
  if (newcomer) std::ofstream(test.folder + "/called").flush();
  test.ranks = test.ranks->grow(newcomer.get(), soon());
}

void replaced(Test& test) {
  const int size = test.size();
  if (!test.runtime.is_newcomer()) {
    if (test.is_last()) die_in_all_reduce(test, kCount);
    auto memory = test.ranks->allocate(kCount * sizeof(float), soon());
    reduce_until_failure(test, soon());
    survive(test, size - 1);
    take_in_newcomer(test);
    require(test.size() == size, fmt::format("{} ranks with the newcomer", test.size()));
  }
  require(test.runtime.is_newcomer() == test.is_last(), "the newcomer is not the last rank");
  require_right_sums(test, "with the newcomer");
  // It dies as any other rank does.
  if (test.is_last()) die_in_all_reduce(test, kCount);
  auto memory = test.ranks->allocate(kCount * sizeof(float), soon());
  reduce_until_failure(test, soon());
  survive(test, size - 1);
}

void grown(Test& test) {
  const int size = test.size();
  if (!test.runtime.is_newcomer()) {
    take_in_newcomer(test);
    require(test.size() == size + 1, fmt::format("{} ranks with the newcomer", test.size()));
  }
  require_right_sums(test, "with the newcomer");
}

/// Ranks that have made fewer communicators than others catch up when they come together, so that
/// the next one is told from all before it, whoever is left by then.
void level(Test& test) {
  if (!test.runtime.is_newcomer()) {
    if (test.rank() == 0) test.runtime.communicators()->raise_to(500);
    take_in_newcomer(test);
  }
  std::vector<std::int64_t> counts(static_cast<std::size_t>(test.size()));
  std::int64_t own = test.runtime.communicators()->value();
  test.ranks->all_gather({&own, 1, DType::kInt64}, {counts.data(), counts.size(), DType::kInt64},
                         soon());
  test.say(fmt::format("communicators {}", fmt::join(counts, " ")));
  require(own > 500, "the leader's communicators were not caught up with");
  for (const std::int64_t count : counts) require(count == own, "the ranks are not level");
  if (test.rank() == 0) die_in_all_reduce(test, kCount);
  auto memory = test.ranks->allocate(kCount * sizeof(float), soon());
  reduce_until_failure(test, soon());
  survive(test, test.size() - 1);
}

/// mpirun, of which MPI hears of deaths, is stopped when a rank dies.
void mpirun_silent(Test& test) {
  const pid_t mpirun = getppid();
  if (test.rank() == 0) kill(mpirun, SIGSTOP);
  float together = 1;
  test.ranks->all_reduce({&together, 1, DType::kFloat32})->wait(soon());
  const bool victim = test.is_last();
  if (victim) die_in_all_reduce(test, kCount);
  auto memory = test.ranks->allocate(kCount * sizeof(float), soon());
  reduce_until_failure(test, soon());
  try {
    survive(test, test.size() - 1);
  } catch (const std::exception&) {
    kill(mpirun, SIGCONT);
    throw;
  }
  kill(mpirun, SIGCONT);
}

/// The newcomer is killed about when it is called in, or just before: the others go on without it.
void newcomer_lost(Test& test, bool before) {
  const int size = test.size();
  try {
    take_in_newcomer(test, before);
    reduce_until_failure(test, soon());
  } catch (const PeerFailure& failure) {
    test.say(fmt::format("not taken in: {}", failure.what()));
  }
  survive(test, size);
}

const std::map<std::string, std::function<void(Test&)>> kScenarios = {
    {"sums", sums},
    {"outstanding", outstanding},
    {"others", others},
    {"identity", identity},
    {"last_killed", [](Test& test) { killed(test, true); }},
    {"first_killed", [](Test& test) { killed(test, false); }},
    {"two_killed", two_killed},
    {"stopped", stopped},
    {"aborted", aborted},
    {"mismatch", mismatch},
    {"grown", grown},
    {"ahead_killed", ahead_killed},
    {"replaced", replaced},
    {"level", level},
    {"mpirun_silent", mpirun_silent},
    {"newcomer_lost", [](Test& test) { newcomer_lost(test, false); }},
    {"newcomer_dead", [](Test& test) { newcomer_lost(test, true); }},
};

/// A newcomer's way into the collective.
std::unique_ptr<Collective> enter(const MpiRuntime& runtime, const std::string& scenario,
                                  const std::string& folder, const MpiOptions& options) {
  Applicant applicant(runtime);
  std::thread killer;
  if (scenario == "newcomer_lost") {
    killer = std::thread([folder] {
      while (access((folder + "/called").c_str(), F_OK) != 0) std::this_thread::yield();
      kill(getpid(), SIGKILL);
    });
  }
  auto ranks = applicant.enter(options, soon());
  if (killer.joinable()) killer.join();
  return ranks;
}

int run(const std::vector<std::string>& command, const MpiOptions& options) {
  const std::string &scenario = command[1], &folder = command[2];
  MpiRuntime runtime;
  const int number = runtime.is_newcomer() ? 100 + getpid() : runtime.world_rank();
  Test test{runtime, nullptr, std::ofstream(fmt::format("{}/rank{}", folder, number)), folder,
            command};
  test.ranks = runtime.is_newcomer() ? enter(runtime, scenario, folder, options)
                                     : make_mpi_collective(runtime, options, soon());
  int code = 0;
  try {
    kScenarios.at(scenario)(test);
    test.say("passed");
  } catch (const std::exception& error) {
    test.say(fmt::format("failed: {}", error.what()));
    code = 1;
  }
  test.ranks.reset();
  test.out.close();
  if (!runtime.finalize(Deadline::after(std::chrono::seconds(3)))) std::_Exit(code);
  return code;
}

}  // namespace
}  // namespace musher

int main(int argc, char** argv) {
  if (argc != 5) {
    fmt::print(stderr, "usage: {} SCENARIO FOLDER shared|plain RANKS_PER_HOST\n", argv[0]);
    return 2;
  }
  musher::MpiOptions options;
  options.shared_memory = std::string(argv[3]) == "shared";
  options.ranks_per_host = std::atoi(argv[4]);
  return musher::run({argv, argv + argc}, options);
}
