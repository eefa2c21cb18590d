#include "model/archive.h"

#include <utility>

#include <archive.h>
#include <archive_entry.h>
#include <fmt/format.h>

#include "common/error.h"

namespace musher {
namespace {

constexpr int kPiece = 1 << 20;  // bytes given to the sink at a time

}  // namespace

void TarGzWriter::Free::operator()(archive* handle) const {
  archive_write_free(handle);
}

TarGzWriter::~TarGzWriter() {
  abandoned_ = true;  // freeing ends an unfinished archive as if it were whole
}

void TarGzWriter::check(long result) {
  if (failure_) std::rethrow_exception(failure_);
  if (result < ARCHIVE_OK) {
    const char* why = archive_error_string(archive_.get());
    throw Error(ErrorCode::kInternal,
                fmt::format("the tar.gz can't be written: {}", why ? why : "unknown reason"));
  }
}

TarGzWriter::TarGzWriter(ByteSink sink) : sink_(std::move(sink)), archive_(archive_write_new()) {
  if (!archive_) throw Error(ErrorCode::kResourceExhausted, "no memory for a tar.gz writer");
  check(archive_write_set_format_pax_restricted(archive_.get()));
  check(archive_write_add_filter_gzip(archive_.get()));
  // Trained weights hardly compress: the fastest level. No time stamp, so that the bytes depend on
  // the contents alone.
  check(archive_write_set_options(archive_.get(), "gzip:compression-level=1,gzip:!timestamp"));
  check(archive_write_set_bytes_per_block(archive_.get(), kPiece));
  check(archive_write_set_bytes_in_last_block(archive_.get(), 1));
  const auto write = [](archive*, void* self, const void* data, std::size_t size) -> la_ssize_t {
    auto& writer = *static_cast<TarGzWriter*>(self);
    if (writer.failure_ || writer.abandoned_) return -1;
    try {
      writer.sink_({static_cast<const std::byte*>(data), size});
      return static_cast<la_ssize_t>(size);
    } catch (...) {
      writer.failure_ = std::current_exception();
      return -1;
    }
  };
  check(archive_write_open(archive_.get(), this, nullptr, write, nullptr));
}

void TarGzWriter::add(const std::string& name, std::uint64_t size,
                      const std::function<void(const ByteSink&)>& content) {
  std::unique_ptr<archive_entry, decltype(&archive_entry_free)> entry(archive_entry_new(),
                                                                      archive_entry_free);
  archive_entry_set_pathname(entry.get(), name.c_str());
  archive_entry_set_size(entry.get(), static_cast<la_int64_t>(size));
  archive_entry_set_filetype(entry.get(), AE_IFREG);
  archive_entry_set_perm(entry.get(), 0644);
  archive_entry_set_mtime(entry.get(), 0, 0);
  check(archive_write_header(archive_.get(), entry.get()));
  std::uint64_t given = 0;
  content([&](std::span<const std::byte> bytes) {
    given += bytes.size();
    if (given > size)
      throw Error(ErrorCode::kInternal, fmt::format("{} has more than {} bytes", name, size));
    check(archive_write_data(archive_.get(), bytes.data(), bytes.size()));
  });
  if (given != size)
    throw Error(ErrorCode::kInternal, fmt::format("{} has {} bytes, not {}", name, given, size));
  check(archive_write_finish_entry(archive_.get()));
}

void TarGzWriter::add(const std::string& name, std::string_view text) {
  add(name, text.size(), [&](const ByteSink& sink) { sink(std::as_bytes(std::span(text))); });
}

void TarGzWriter::finish() {
  check(archive_write_close(archive_.get()));
}

}  // namespace musher
