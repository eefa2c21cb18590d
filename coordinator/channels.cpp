#include "coordinator/channels.h"

#include <fstream>

#include <nlohmann/json.hpp>

#include "common/checksum.h"
#include "common/error.h"
#include "dataset/object_list.h"
#include "dataset/sources.h"
#include "dataset/table.h"
#include "storage/object_store.h"

namespace musher {

namespace {

constexpr const char* kFormat = "musher-manifest-1";
constexpr std::size_t kEpochsKept = 4;

template <typename Map>
void keep_newest(Map& map) {
  while (map.size() > kEpochsKept) map.erase(map.begin());
}

/// The whole object at `uri`: its folder opened as a store.
std::vector<std::byte> read_whole(const Uri& uri, const StorageConfig& storage) {
  const std::size_t slash = uri.path.rfind('/');
  Uri folder = uri;
  folder.path = slash == std::string::npos ? "" : uri.path.substr(0, slash);
  return open_store(folder, storage)
      ->read(slash == std::string::npos ? uri.path : uri.path.substr(slash + 1));
}

std::string_view text_of(const std::vector<std::byte>& bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

ChannelManifest manifest_of(const Channel& channel, const StorageConfig& storage,
                            const ManifestOptions& options) {
  switch (channel.type) {
    case Channel::Type::kManifestFile: {
      const ObjectList list =
          parse_manifest_file(text_of(read_whole(channel.uri, storage)), channel.uri.str());
      return {list.root.str(), listed_manifest(*open_store(list.root, storage), list, options)};
    }
    case Channel::Type::kAugmentedManifestFile: {
      const LabelledObjects labelled = parse_augmented_manifest(
          text_of(read_whole(channel.uri, storage)), channel.uri.str(), channel.attributes);
      const Uri& root = labelled.objects.root;
      return {root.str(), labelled_manifest(*open_store(root, storage), labelled, options)};
    }
    case Channel::Type::kPrefix:
      break;
  }
  return {channel.uri.str(), make_manifest(*open_store(channel.uri, storage), options)};
}

/// Whether the job speaks of the classes or columns that the train channel has.
void check_names(const Job& job, const std::vector<std::string>& names) {
  const Hyperparameters& h = job.hyperparameters;
  if (job.task == TaskKind::kRegression) choose_columns(names, h.feature_columns, h.target_columns);
  if (h.num_classes > 0 && h.num_classes < static_cast<std::int64_t>(names.size())) {
    throw Error(ErrorCode::kInvalidArgument,
                "HyperParameters.num_classes is " + std::to_string(h.num_classes) + ", but " +
                    job.train.uri.str() + " has " + std::to_string(names.size()) + " classes");
  }
}

std::unique_ptr<const ChannelData> prepare(const Channel& channel, const StorageConfig& storage,
                                           const std::filesystem::path& folder,
                                           const ManifestOptions& options) {
  const std::filesystem::path file = folder / ("manifest-" + channel.name);
  std::optional<ChannelManifest> kept = load_manifest(file);
  if (!kept) {
    kept = manifest_of(channel, storage, options);
    save_manifest(file, *kept);
  }
  return std::make_unique<ChannelData>(channel.name, kept->root, std::move(kept->manifest),
                                       channel.sharded);
}

}  // namespace

ChannelData::ChannelData(std::string name, std::string uri, Manifest manifest, bool sharded)
    : name_(std::move(name)),
      uri_(std::move(uri)),
      manifest_(std::move(manifest)),
      sharded_(sharded),
      window_(window_samples(manifest_.samples(), manifest_.bytes())),
      fingerprint_(manifest_.fingerprint()) {}

Digest ChannelData::digest(std::uint64_t epoch) const {
  {
    const std::lock_guard lock(mutex_);
    const auto found = digests_.find(epoch);
    if (found != digests_.end()) return found->second;
  }
  const Digest digest = epoch_digest(manifest_, epoch);
  const std::lock_guard lock(mutex_);
  digests_[epoch] = digest;
  keep_newest(digests_);
  return digest;
}

std::shared_ptr<const std::vector<std::vector<Run>>> ChannelData::runs(
    const DealOptions& options) const {
  // ShardedByS3Key: every epoch is dealt as the first one; its windows are shuffled anew.
  DealOptions deal_options = options;
  if (sharded_) deal_options.epoch = 0;
  const std::lock_guard lock(mutex_);
  auto& runs = runs_[deal_options.epoch];
  if (!runs) {
    std::vector<std::uint64_t> shard_samples;
    for (const ShardInfo& shard : manifest_.shards()) shard_samples.push_back(shard.samples);
    runs = std::make_shared<std::vector<std::vector<Run>>>(deal(shard_samples, deal_options));
  }
  auto result = runs;
  keep_newest(runs_);
  return result;
}

const ChannelData* JobChannels::find(const std::string& name) const {
  if (train && train->name() == name) return train.get();
  if (validation && validation->name() == name) return validation.get();
  return nullptr;
}

JobChannels prepare_channels(const Job& job, const StorageConfig& storage,
                             const std::filesystem::path& folder,
                             const std::filesystem::path& cache_folder,
                             const std::function<void(const std::string&)>& notice) {
  ManifestOptions options;
  if (job.task == TaskKind::kRegression)
    options.layout = TableLayout{.header = job.hyperparameters.csv_header};
  if (job.task == TaskKind::kLanguageModeling) {
    options.layout = TokenLayout{static_cast<std::uint64_t>(job.hyperparameters.context_length),
                                 number_type_named(job.hyperparameters.token_type).value()};
  }
  options.cache_folder = cache_folder;
  options.notice = notice;
  JobChannels channels;
  channels.train = prepare(job.train, storage, folder, options);
  const auto& classes = channels.train->manifest().classes();
  check_names(job, classes);
  if (job.validation) {
    options.classes = classes;
    channels.validation = prepare(*job.validation, storage, folder, options);
  }
  return channels;
}

void save_manifest(const std::filesystem::path& file, const ChannelManifest& channel) {
  const Manifest& manifest = channel.manifest;
  nlohmann::json header = {
      {"format", kFormat}, {"root", channel.root}, {"classes", manifest.classes()}};
  nlohmann::json& blocks = header["blocks"] = nlohmann::json::array();
  for (std::size_t i = 0; i < manifest.shards().size(); ++i) {
    const auto block = manifest.block(i);
    blocks.push_back({block.size(), hex64(hash64(block))});
  }
  const std::filesystem::path unfinished = file.string() + ".unfinished";
  {
    std::ofstream out(unfinished, std::ios::binary);
    out << header.dump() << '\n';
    for (std::size_t i = 0; i < manifest.shards().size(); ++i) {
      const auto block = manifest.block(i);
      out.write(reinterpret_cast<const char*>(block.data()),
                static_cast<std::streamsize>(block.size()));
    }
    out.flush();
    if (!out) throw Error(ErrorCode::kUnavailable, unfinished.string() + " can't be written");
  }
  std::filesystem::rename(unfinished, file);
}

std::optional<ChannelManifest> load_manifest(const std::filesystem::path& file) {
  std::ifstream in(file, std::ios::binary);
  if (!in) return std::nullopt;
  const auto damaged = [&] { return Error(ErrorCode::kDataLoss, file.string() + " is damaged"); };
  std::string line;
  std::getline(in, line);
  const auto header = nlohmann::json::parse(line, nullptr, false);
  if (header.is_discarded() || header.value("format", "") != kFormat || !header.contains("root")) {
    throw damaged();
  }
  Manifest manifest(header.at("classes").get<std::vector<std::string>>());
  for (const auto& entry : header.at("blocks")) {
    std::vector<std::byte> block(entry.at(0).get<std::size_t>());
    in.read(reinterpret_cast<char*>(block.data()), static_cast<std::streamsize>(block.size()));
    if (!in || hex64(hash64(std::span<const std::byte>(block))) != entry.at(1)) throw damaged();
    manifest.add_shard(decode_shard(block));
  }
  return ChannelManifest{header.at("root").get<std::string>(), std::move(manifest)};
}

}  // namespace musher
