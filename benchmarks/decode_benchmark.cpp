// Pictures a second of one core's time, from a JPEG's bytes in memory to normalised floats.
//
//   decode_benchmark FOLDER SIZE train|evaluate scaled|full SECONDS
//
// All files of FOLDER over and over, for SECONDS of processor time. Prints a line of JSON.
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <span>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "image/image_decoder.h"

namespace musher {
namespace {

std::vector<std::vector<char>> read_all(const std::filesystem::path& folder) {
  std::vector<std::vector<char>> files;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    std::ifstream file(entry.path(), std::ios::binary);
    files.emplace_back(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
  }
  return files;
}

double processor_seconds() {
  timespec now{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

int run(std::span<char*> arguments) {
  if (arguments.size() != 6) {
    fmt::print(stderr, "decode_benchmark FOLDER SIZE train|evaluate scaled|full SECONDS\n");
    return 2;
  }
  const auto files = read_all(arguments[1]);
  ImageTransform transform;
  transform.size = std::atoi(arguments[2]);
  transform.mean = {0.485, 0.456, 0.406};
  transform.std = {0.229, 0.224, 0.225};
  if (std::string(arguments[3]) == "train") {
    transform.augmentation = Augmentation::kRandomResizedCrop;
  }
  transform.scaled_decode = std::string(arguments[4]) == "scaled";
  const double limit = std::atof(arguments[5]);

  const ImageDecoder decoder(transform);
  std::vector<float> out(decoder.floats());
  std::uint64_t decoded = 0;
  const auto decode_all = [&] {
    for (const auto& file : files) {
      decoder.decode(std::as_bytes(std::span(file)), decoded, out.data());
      ++decoded;
    }
  };
  decode_all();  // first touches of memory are not what is asked about
  decoded = 0;
  const double begin = processor_seconds();
  double seconds = 0;
  while (seconds < limit) {
    decode_all();
    seconds = processor_seconds() - begin;
  }
  fmt::print("{{\"images_per_second\": {}}}\n", static_cast<double>(decoded) / seconds);
  return 0;
}

}  // namespace
}  // namespace musher

int main(int argc, char** argv) {
  return musher::run(std::span(argv, static_cast<std::size_t>(argc)));
}
