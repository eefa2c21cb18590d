// How fast is an all-reduce between the ranks of a host? Prints a table as nccl-tests does. Run by
// mpirun:
//   mpirun --with-ft ulfm -n 2 collective_benchmark [shared|plain] [allocated|own] [iterations]
// "allocated": the buffer comes from Collective::allocate. Its peer, Gloo, is in
// collective_benchmark.py.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "trainer/collective/mpi.h"

namespace {

using musher::Deadline;

Deadline soon() {
  return Deadline::after(std::chrono::minutes(5));
}

double seconds_of_one(musher::Collective& ranks, const musher::Buffer& buffer) {
  // The token keeps one rank's head start out of the time.
  float token = 0;
  ranks.all_reduce({&token, 1, musher::DType::kFloat32})->wait(soon());
  const auto begin = Deadline::Clock::now();
  ranks.all_reduce(buffer)->wait(soon());
  return std::chrono::duration<double>(Deadline::Clock::now() - begin).count();
}

void measure(musher::Collective& ranks, void* data, std::size_t bytes, int iterations) {
  const musher::Buffer buffer{data, bytes / 4, musher::DType::kFloat32};
  std::fill_n(static_cast<float*>(data), buffer.count, 0.0f);
  for (int i = 0; i < 3; ++i) seconds_of_one(ranks, buffer);
  std::vector<double> times;
  for (int i = 0; i < iterations; ++i) times.push_back(seconds_of_one(ranks, buffer));
  std::sort(times.begin(), times.end());
  const double median = times[times.size() / 2];
  const double algorithm = static_cast<double>(bytes) / median / 1e9;
  const double bus = algorithm * 2 * (ranks.size() - 1) / ranks.size();
  if (ranks.rank() == 0) {
    std::printf("%12zu %10s %12.1f %12.1f %10.2f %10.2f\n", bytes, "float", median * 1e6,
                times.front() * 1e6, algorithm, bus);
    std::fflush(stdout);
  }
}

}  // namespace

int main(int argc, char** argv) {
  const std::string transport = argc > 1 ? argv[1] : "shared";
  const std::string memory = argc > 2 ? argv[2] : "allocated";
  const int iterations = argc > 3 ? std::atoi(argv[3]) : 20;
  musher::MpiRuntime runtime;
  auto ranks = musher::make_mpi_collective(
      runtime, {.shared_memory = transport == "shared", .ranks_per_host = 0}, soon());
  if (ranks->rank() == 0) {
    std::printf("# %d ranks, %s, buffers %s, median and best of %d\n", ranks->size(),
                transport.c_str(), memory.c_str(), iterations);
    std::printf("#%11s %10s %12s %12s %10s %10s\n", "size(B)", "type", "time(us)", "best(us)",
                "algbw(GB/s)", "busbw(GB/s)");
  }
  for (std::size_t bytes :
       {4096UL, 65536UL, 1UL << 20, 4UL << 20, 10UL << 20, 40UL << 20, 100UL << 20}) {
    std::vector<float> own;
    std::shared_ptr<void> allocated;
    if (memory == "allocated") {
      allocated = ranks->allocate(bytes, soon());
    } else {
      own.resize(bytes / 4);
    }
    measure(*ranks, allocated ? allocated.get() : own.data(), bytes, iterations);
  }
  return 0;
}
