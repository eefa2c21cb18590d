#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "storage/object_store.h"
#include "trainer/client/coordinator_client.h"

namespace musher::test {

/// What the coordinator does when it has heard of all slices. In a file of its own: the
/// coordinator's headers are never seen together with LibTorch's.
void commit_slices(ObjectStore& store, const std::vector<SliceWritten>& slices);

/// Folders of the committed checkpoints, newest first.
std::vector<std::string> committed(ObjectStore& store);

/// What follows a commit, and what an attempt begins with.
void prune(ObjectStore& store, const std::string& job, std::uint64_t step, std::size_t kept);
void sweep(ObjectStore& store, const std::string& job);
/// How many there are, finished or not.
std::size_t checkpoint_folders(ObjectStore& store);

}  // namespace musher::test
