#include "common/temporary_file.h"

#include <cstdlib>
#include <filesystem>

#include <unistd.h>

#include "common/error.h"

namespace musher {

TemporaryFile::TemporaryFile()
    : path_((std::filesystem::temp_directory_path() / "musher-XXXXXX").string()) {
  const int fd = mkstemp(path_.data());
  if (fd < 0)
    throw Error(ErrorCode::kResourceExhausted, "no temporary file can be made in " + path_);
  close(fd);
}

TemporaryFile::~TemporaryFile() {
  std::error_code ignored;
  std::filesystem::remove(path_, ignored);
}

}  // namespace musher
