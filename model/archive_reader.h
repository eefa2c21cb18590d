#pragma once

#include <cstddef>
#include <map>
#include <set>
#include <span>
#include <string>
#include <vector>

namespace musher {

using ArchiveFiles = std::map<std::string, std::vector<std::byte>>;

/// The files of a tar.gz whose names, without a leading "./", are in `wanted`; the first of each
/// name. Others, and what is no regular file, are passed over; nothing is written to disk.
/// kDataLoss for an archive that is damaged or cut off, kResourceExhausted for a file above 16 GiB,
/// with `name`, the archive's.
ArchiveFiles read_tar_gz(std::span<const std::byte> archive, const std::set<std::string>& wanted,
                         const std::string& name);

}  // namespace musher
