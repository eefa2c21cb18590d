#include "commit_slices.h"

#include "coordinator/checkpoints.h"

namespace musher::test {

void commit_slices(ObjectStore& store, const std::vector<SliceWritten>& slices) {
  std::vector<SliceRecord> records;
  for (const SliceWritten& slice : slices) {
    records.push_back({slice.checkpoint, slice.step, slice.slice, slice.slices, slice.key,
                       slice.size, slice.checksum, slice.header});
  }
  commit_checkpoint(store, records);
}

std::vector<std::string> committed(ObjectStore& store) {
  std::vector<std::string> folders;
  for (const CheckpointFound& found : find_checkpoints(store).found) {
    folders.push_back(found.folder);
  }
  return folders;
}

void prune(ObjectStore& store, const std::string& job, std::uint64_t step, std::size_t kept) {
  prune_checkpoints(store, {job, step, kept, {}});
}

void sweep(ObjectStore& store, const std::string& job) {
  sweep_checkpoints(store, job);
}

std::size_t checkpoint_folders(ObjectStore& store) {
  std::size_t count = 0;
  for (const std::string& folder : store.folders(""))
    count += parse_checkpoint_name(folder) ? 1 : 0;
  return count;
}

}  // namespace musher::test
