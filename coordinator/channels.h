#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "dataset/deal.h"
#include "dataset/digest.h"
#include "dataset/manifest.h"
#include "job/job.h"
#include "storage/config.h"

namespace musher {

/// A channel of a job: its manifest, and what follows from it. Thread-safe.
class ChannelData {
 public:
  /// `uri`: what the manifest's objects are relative to. `sharded`: see Channel.
  ChannelData(std::string name, std::string uri, Manifest manifest, bool sharded = false);

  const std::string& name() const { return name_; }
  const std::string& uri() const { return uri_; }
  const Manifest& manifest() const { return manifest_; }
  std::uint64_t window() const { return window_; }
  std::uint64_t fingerprint() const { return fingerprint_; }

  /// What an epoch over the whole channel must come to. Kept for the next who asks.
  Digest digest(std::uint64_t epoch) const;
  /// The runs of every virtual worker in an epoch. Kept likewise.
  std::shared_ptr<const std::vector<std::vector<Run>>> runs(const DealOptions& options) const;

 private:
  std::string name_;
  std::string uri_;
  Manifest manifest_;
  bool sharded_;
  std::uint64_t window_;
  std::uint64_t fingerprint_;

  mutable std::mutex mutex_;
  mutable std::map<std::uint64_t, Digest> digests_;
  mutable std::map<std::uint64_t, std::shared_ptr<const std::vector<std::vector<Run>>>> runs_;
};

/// The channels of a job.
struct JobChannels {
  std::unique_ptr<const ChannelData> train;
  std::unique_ptr<const ChannelData> validation;  ///< may be null

  /// Null where there is no such channel.
  const ChannelData* find(const std::string& name) const;
};

/// Lists the data of a job and makes its manifests, or reads those that an earlier attempt kept in
/// `folder`, so that all attempts train on the same samples. Throws what the store and the data set
/// say, and kInvalidArgument where num_classes is too small or a column is not there.
JobChannels prepare_channels(const Job& job, const StorageConfig& storage,
                             const std::filesystem::path& folder,
                             const std::filesystem::path& cache_folder,
                             const std::function<void(const std::string&)>& notice);

/// A channel's manifest and what its objects are relative to.
struct ChannelManifest {
  std::string root;
  Manifest manifest;
};

/// A manifest in a file: a line of JSON (`format` "musher-manifest-1", root, classes, bytes and
/// checksum of each shard's block), then the blocks. load is nullopt where there is no such file,
/// kDataLoss where it is damaged.
void save_manifest(const std::filesystem::path& file, const ChannelManifest& channel);
std::optional<ChannelManifest> load_manifest(const std::filesystem::path& file);

}  // namespace musher
