// One rank of a NCCL test on real GPUs: started by mpirun through run_nccl_ranks.py. Writes what it
// saw to <folder>/rank<world rank>, ending in "passed". With the one argument "count" it prints how
// many GPUs there are.
#include <csignal>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include <cuda_runtime_api.h>
#include <fmt/format.h>
#include <unistd.h>

#include "common/error.h"
#include "trainer/collective/mpi.h"
#include "trainer/collective/nccl_loader.h"

namespace musher {
namespace {

Deadline soon() {
  return Deadline::after(std::chrono::seconds(60));
}

void require(bool condition, const std::string& what) {
  if (!condition) throw Error(ErrorCode::kInternal, what);
}

void check(cudaError_t result) {
  require(result == cudaSuccess, cudaGetErrorString(result));
}

/// On the device, all elements the rank + 1.
void fill(const std::shared_ptr<void>& device, std::size_t count, int rank) {
  const std::vector<float> host(count, static_cast<float>(rank + 1));
  check(cudaMemcpy(device.get(), host.data(), count * sizeof(float), cudaMemcpyHostToDevice));
}

void require_all(const std::shared_ptr<void>& device, std::size_t count, float expected) {
  std::vector<float> host(count);
  check(cudaMemcpy(host.data(), device.get(), count * sizeof(float), cudaMemcpyDeviceToHost));
  for (float value : host)
    require(value == expected, fmt::format("{} and not {}", value, expected));
}

float sum_of_ranks(int size) {
  return static_cast<float>(size * (size + 1) / 2);
}

void reduce_and_check(Collective& ranks) {
  for (std::size_t count : {std::size_t{1}, std::size_t{1000}, std::size_t{10000019}}) {
    auto memory = ranks.allocate(count * sizeof(float), soon());
    fill(memory, count, ranks.rank());
    ranks.all_reduce({memory.get(), count, DType::kFloat32})->wait(soon());
    require_all(memory, count, sum_of_ranks(ranks.size()));
  }
}

void sums(std::unique_ptr<Collective> ranks) {
  reduce_and_check(*ranks);
  auto memory = ranks->allocate(4000, soon());
  fill(memory, 1000, ranks->rank());
  ranks->broadcast({memory.get(), 1000, DType::kFloat32}, ranks->size() - 1, soon());
  require_all(memory, 1000, static_cast<float>(ranks->size()));
}

/// The reduction must wait for the stream that writes the gradient.
void overlap(std::unique_ptr<Collective> ranks) {
  constexpr std::size_t kBytes = std::size_t{1} << 28;
  auto memory = ranks->allocate(kBytes, soon());
  cudaStream_t stream = nullptr;
  check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
  for (int i = 0; i < 50; ++i) check(cudaMemsetAsync(memory.get(), i, kBytes, stream));
  check(cudaMemsetAsync(memory.get(), 1, kBytes, stream));
  ranks->all_reduce({memory.get(), kBytes, DType::kUInt8, stream})->wait(soon());
  std::vector<std::uint8_t> host(kBytes);
  check(cudaMemcpy(host.data(), memory.get(), kBytes, cudaMemcpyDeviceToHost));
  for (std::uint8_t value : host)
    require(value == ranks->size(), "the sum was taken before the gradient was written");
  check(cudaStreamDestroy(stream));
}

void killed(std::unique_ptr<Collective> ranks) {
  const int before = ranks->size();
  auto memory = ranks->allocate(std::size_t{1} << 26, soon());
  const Buffer buffer{memory.get(), std::size_t{1} << 24, DType::kFloat32};
  for (int i = 0; i < 10; ++i) ranks->all_reduce(buffer)->wait(soon());
  if (ranks->rank() == before - 1) kill(getpid(), SIGKILL);
  try {
    while (true) ranks->all_reduce(buffer)->wait(soon());
  } catch (const PeerFailure& failure) {
    require(std::string(failure.what()).find("deadline") == std::string::npos, failure.what());
  }
  ranks = ranks->shrink(soon());
  require(ranks->size() == before - 1, "the wrong number of survivors");
  reduce_and_check(*ranks);
}

const std::map<std::string, std::function<void(std::unique_ptr<Collective>)>> kScenarios = {
    {"sums", sums}, {"overlap", overlap}, {"killed", killed}};

int run(const std::string& scenario, const std::string& folder) {
  MpiRuntime runtime;
  std::ofstream out(fmt::format("{}/rank{}", folder, runtime.world_rank()));
  int code = 0;
  try {
    auto bootstrap = make_mpi_collective(runtime, {}, soon());
    kScenarios.at(scenario)(load_nccl_collective(nccl_module(), std::move(bootstrap),
                                                 {.device = runtime.local_rank()}, soon()));
    out << "passed" << std::endl;
  } catch (const std::exception& error) {
    out << "failed: " << error.what() << std::endl;
    code = 1;
  }
  if (!runtime.finalize(Deadline::after(std::chrono::seconds(3)))) std::_Exit(code);
  return code;
}

}  // namespace
}  // namespace musher

int main(int argc, char** argv) {
  if (argc == 2) {
    int count = 0;
    fmt::print("{}\n", cudaGetDeviceCount(&count) == cudaSuccess ? count : 0);
    return 0;
  }
  return argc == 3 ? musher::run(argv[1], argv[2]) : 2;
}
