#include "trainer/tagged_output.h"

#include <array>
#include <cstdio>
#include <string>
#include <utility>

#include <fcntl.h>
#include <unistd.h>

namespace musher {
namespace {

void write_all(int descriptor, const std::string& text) {
  for (std::size_t done = 0; done < text.size();) {
    const ssize_t n = ::write(descriptor, text.data() + done, text.size() - done);
    if (n <= 0) return;
    done += static_cast<std::size_t>(n);
  }
}

/// Until the other end of the pipe is closed.
void copy_lines(int from, int to, const std::string& prefix) {
  std::string line;
  std::array<char, 4096> buffer;
  for (ssize_t n = 0; (n = ::read(from, buffer.data(), buffer.size())) > 0;) {
    for (ssize_t i = 0; i < n; ++i) {
      line += buffer[static_cast<std::size_t>(i)];
      if (line.back() == '\n') write_all(to, prefix + std::exchange(line, {}));
    }
  }
  if (!line.empty()) write_all(to, prefix + line + "\n");
  ::close(from);
}

}  // namespace

TaggedOutput::TaggedOutput(int rank)
    : out_(tag(STDOUT_FILENO, ("[1," + std::to_string(rank) + "]<stdout>: ").c_str())),
      error_(tag(STDERR_FILENO, ("[1," + std::to_string(rank) + "]<stderr>: ").c_str())) {}

TaggedOutput::~TaggedOutput() {
  std::fflush(nullptr);
  restore(out_);
  restore(error_);
}

TaggedOutput::Stream TaggedOutput::tag(int descriptor, const char* prefix) {
  Stream stream;
  std::array<int, 2> pipe{};
  const int original = ::fcntl(descriptor, F_DUPFD_CLOEXEC, 0);
  if (original < 0 || ::pipe2(pipe.data(), O_CLOEXEC) != 0) return stream;  // untagged, then
  ::dup2(pipe[1], descriptor);
  ::close(pipe[1]);
  stream.descriptor = descriptor;
  stream.original = original;
  stream.thread = Thread("tag-output", [from = pipe[0], original, text = std::string(prefix)] {
    copy_lines(from, original, text);
  });
  return stream;
}

void TaggedOutput::restore(Stream& stream) {
  if (stream.descriptor < 0) return;
  ::dup2(stream.original, stream.descriptor);  // which closes the pipe
  stream.thread.join();
  ::close(stream.original);
}

}  // namespace musher
