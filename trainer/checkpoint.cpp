#include "trainer/checkpoint.h"

#include <fmt/format.h>
#include <sys/resource.h>
#include <unistd.h>

#include "common/checksum.h"
#include "common/error.h"
#include "model/weights.h"
#include "trainer/checkpoint_format.h"

namespace musher {
namespace {

/// For the calling thread alone: on Linux a priority is a thread's, not a process's. Training comes
/// first where cores are few; but not so low that ranks which spin in a collective starve a writer
/// that the last rank waits for. Nothing is wrong where the kernel refuses.
void yield_to_training() {
  constexpr int kNiceness = 10;  // about a tenth of a contended core
  setpriority(PRIO_PROCESS, static_cast<id_t>(gettid()), kNiceness);
}

}  // namespace

CheckpointWriter::CheckpointWriter(ObjectStore& store, CheckpointIdentity identity,
                                   Listener listener, Faults faults)
    : store_(store),
      identity_(std::move(identity)),
      listener_(std::move(listener)),
      faults_(std::move(faults)) {}

CheckpointWriter::~CheckpointWriter() {
  wait();
}

void CheckpointWriter::wait() {
  if (thread_.joinable()) thread_.join();
}

void CheckpointWriter::save(const TrainingState& state, const std::string& writers, Slicing slicing,
                            const StateTensors& tensors) {
  wait();
  NamedTensors parts;
  for (const auto& [name, flat] : tensors.flat) {
    const ElementRange range = slice_range(flat.numel(), slicing);
    parts.emplace_back(name, flat.narrow(0, range.begin, range.count));
  }
  parts.insert(parts.end(), tensors.own.begin(), tensors.own.end());
  // The one copy: straight into the bytes of the file, whose memory stays from save to save.
  snapshot_.clear();
  write_safetensors(parts, {{kSamplesTrained, std::to_string(state.samples_trained)}},
                    [this](std::span<const std::byte> piece) {
                      snapshot_.insert(snapshot_.end(), piece.begin(), piece.end());
                    });

  SliceWritten slice;
  slice.checkpoint = fmt::format("step-{:010}.{}", state.step, writers);
  slice.step = state.step;
  slice.slice = slicing.slice;
  slice.slices = slicing.slices;
  slice.key = slice_name(slicing);
  slice.size = snapshot_.size();
  slice.header = header_json(identity_, state, slicing.slices).dump();
  busy_ = true;
  thread_ = Thread("checkpoint", [this, slice = std::move(slice)] { write(slice); });
}

void CheckpointWriter::write(SliceWritten slice) {
  yield_to_training();
  bool written = false;
  try {
    slice.checksum = hash64(snapshot_);
    faults_.at("checkpoint", slice.step);
    store_.put(slice.checkpoint + "/" + slice.key, snapshot_);
    written = true;
    faults_.at("checkpoint-told", slice.step);
    listener_.written(slice);
  } catch (const std::exception& error) {
    listener_.failed(fmt::format(
        "checkpoint of step {}: slice {} of {} was not {}, the checkpoint before stays: {}",
        slice.step, slice.slice + 1, slice.slices, written ? "committed" : "written",
        error.what()));
  }
  busy_ = false;
}

}  // namespace musher
