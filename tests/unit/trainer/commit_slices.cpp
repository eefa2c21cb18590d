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

void prune(ObjectStore& store, const std::string& folder) {
  remove_checkpoint(store, folder);
}

}  // namespace musher::test
