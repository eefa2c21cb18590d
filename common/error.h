#pragma once

#include <stdexcept>
#include <string>
#include <string_view>

namespace musher {

/// What went wrong, as far as a caller can act on it. A closed set: `docs/errors.md` gives for each
/// code the exit code, the gRPC status and whether a retry helps.
enum class ErrorCode {
  kInvalidArgument,     ///< the request itself is wrong: a field, a flag, a file's contents
  kNotFound,            ///< the named job, object, bucket or file does not exist
  kAlreadyExists,       ///< the name is taken
  kPermissionDenied,    ///< credentials are missing, wrong, or do not suffice
  kFailedPrecondition,  ///< right request, wrong state: a job that still runs, a checkpoint of
                        ///< another model
  kResourceExhausted,   ///< a limit: slots, disk, memory
  kUnavailable,  ///< the other side can't be reached or answers 5xx; the only code where a retry
                 ///< helps
  kDeadlineExceeded,  ///< a bounded wait ran out
  kDataLoss,          ///< a checksum, size or digest does not match
  kInternal,          ///< a bug of ours or of a library
};

/// The code's name as docs and logs write it, e.g. "not found".
std::string_view to_string(ErrorCode code);

/// The one exception type that crosses rooms. The message is one line for a person: it names the
/// field, URI, file or rank and says what would be right. Converted at the edges (gRPC handlers,
/// thread entries, main); what is expected to happen (a peer died, a queue is closed, a deadline
/// passed) is a value instead.
class Error : public std::runtime_error {
 public:
  Error(ErrorCode code, const std::string& message) : std::runtime_error(message), code_(code) {}
  ErrorCode code() const { return code_; }

 private:
  ErrorCode code_;
};

/// Whether the same call may succeed later without anyone changing anything.
inline bool retry_helps(ErrorCode code) {
  return code == ErrorCode::kUnavailable || code == ErrorCode::kDeadlineExceeded;
}

}  // namespace musher
