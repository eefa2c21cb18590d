// What a manifest of many images costs: seconds and memory to make it from a listing, to store it,
// to load it, and to deal an epoch of it to one rank of eight. No store: the listing is made up,
// its pages in no order. A line of JSON a phase; memory is the most that was resident in it, above
// what the process had at its start.
//
//   manifest_benchmark SAMPLES FOLDER
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iostream>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <fmt/format.h>
#include <malloc.h>

#include "common/error.h"
#include "common/random.h"
#include "coordinator/channels.h"
#include "dataset/deal.h"
#include "dataset/sources.h"

namespace musher {
namespace {

constexpr std::uint64_t kPage = 1000;  // objects, as S3 lists them
constexpr std::uint64_t kClasses = 1000;
constexpr std::uint32_t kVirtualWorkers = 64;
constexpr std::uint32_t kOfOneRank = kVirtualWorkers / 8;

/// Just a listing.
class ListingStore : public ObjectStore {
 public:
  explicit ListingStore(std::uint64_t samples) : samples_(samples) {}

  const Uri& root() const override { return root_; }
  void list(std::string_view, const std::function<void(std::vector<ObjectInfo>)>& page) override {
    std::vector<std::uint64_t> order((samples_ + kPage - 1) / kPage);
    for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
    Random{7}.shuffle(order);
    for (const std::uint64_t number : order) {
      std::vector<ObjectInfo> objects;
      for (std::uint64_t i = number * kPage; i < std::min(samples_, (number + 1) * kPage); ++i) {
        objects.push_back(
            {.key = fmt::format("n{:08}/n{:08}_{}.JPEG", i % kClasses, i % kClasses, i),
             .size = 90'000 + i * 7919 % 50'000,
             .modified = 1});
      }
      page(std::move(objects));
    }
  }
  ObjectInfo head(std::string_view) override { none(); }
  std::vector<std::byte> read(std::string_view) override { none(); }
  std::vector<std::byte> read(std::string_view, std::uint64_t, std::uint64_t) override { none(); }
  void put(std::string_view, std::span<const std::byte>) override { none(); }
  std::unique_ptr<ObjectWriter> writer(std::string_view) override { none(); }
  void remove(std::string_view) override { none(); }
  std::vector<std::string> folders(std::string_view) override { none(); }
  void remove_folder(std::string_view) override { none(); }
  void remove_unfinished(std::string_view) override { none(); }

 private:
  [[noreturn]] static void none() { throw Error(ErrorCode::kInternal, "just a listing"); }

  const std::uint64_t samples_;
  const Uri root_ = Uri::parse("s3://listing/images");
};

double status_mib(std::string_view field) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with(field))
      return std::strtod(line.c_str() + field.size() + 1, nullptr) / 1024;
  }
  return 0;
}

/// What was freed goes back to the system, so that a phase is not charged with the one before.
void forget_peak() {
  ::malloc_trim(0);
  std::ofstream("/proc/self/clear_refs") << "5";
}

/// Runs it, and prints what it cost.
template <typename Work>
auto measure(const char* phase, double base_mib, Work work) {
  forget_peak();
  const auto begin = std::chrono::steady_clock::now();
  auto result = work();
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
  std::cout << fmt::format(R"({{"phase": "{}", "seconds": {:.3f}, "peak_mib": {:.1f}}})", phase,
                           took.count(), status_mib("VmHWM:") - base_mib)
            << std::endl;
  return result;
}

/// Goes through the samples of one rank in the order of an epoch, a window at a time as the input
/// does. Their number.
std::uint64_t deal_to_one_rank(const Manifest& manifest) {
  std::vector<std::uint64_t> counts;
  for (const ShardInfo& shard : manifest.shards()) counts.push_back(shard.samples);
  DealOptions options{.seed = 1, .epoch = 3, .virtual_workers = kVirtualWorkers};
  options.window = window_samples(manifest.samples(), manifest.bytes());
  std::uint64_t dealt = 0;
  for (std::uint32_t v = 0; v < kOfOneRank; ++v) {
    std::vector<Sample> window;
    std::uint64_t index = 0;
    const auto use = [&] {
      dealt += window_order(options, v, index++, window.size()).size();
      window.clear();
    };
    for (const Run& run : deal_to(counts, options, v)) {
      const std::vector<Sample> shard = manifest.shard(run.shard);
      for (std::uint64_t i = run.first; i < run.first + run.count; ++i) {
        window.push_back(shard[i]);
        if (window.size() == options.window) use();
      }
    }
    use();
  }
  return dealt;
}

int run(std::uint64_t samples, const std::filesystem::path& folder) {
  ListingStore store(samples);
  const double base = status_mib("VmRSS:");
  const auto file = folder / "manifest";
  {
    const Manifest made =
        measure("make", base, [&] { return make_manifest(store, ManifestOptions{}); });
    const auto bytes = measure("store", base, [&] {
      save_manifest(file, {store.root().str(), made});
      return std::filesystem::file_size(file);
    });
    std::cout << fmt::format(R"({{"phase": "file", "mib": {:.1f}}})",
                             static_cast<double>(bytes) / (1 << 20))
              << std::endl;
  }
  const auto loaded = measure("load", base, [&] { return load_manifest(file); });
  const std::uint64_t dealt =
      measure("deal", base, [&] { return deal_to_one_rank(loaded->manifest); });
  const bool right =
      loaded->manifest.samples() == samples && dealt >= samples / 8 - kVirtualWorkers;
  if (!right) std::cerr << "samples are missing\n";
  return right ? 0 : 1;
}

}  // namespace
}  // namespace musher

int main(int argc, char** argv) {
  if (argc != 3) {
    std::cerr << "manifest_benchmark SAMPLES FOLDER\n";
    return 2;
  }
  try {
    return musher::run(std::strtoull(argv[1], nullptr, 10), argv[2]);
  } catch (const std::exception& error) {
    std::cerr << "manifest_benchmark: " << error.what() << "\n";
    return 1;
  }
}
