#pragma once

#include <string>
#include <utility>
#include <vector>

#include <archive.h>
#include <archive_entry.h>
#include <gtest/gtest.h>

#include "dataset/manifest.h"
#include "support/memory_store.h"

namespace musher::test {

using Members = std::vector<std::pair<std::string, std::string>>;

inline std::string make_tar(const Members& members) {
  std::size_t most = 20'480;
  for (const auto& [name, content] : members) most += 2048 + content.size();
  std::string tar(most, '\0');
  std::size_t used = 0;
  archive* out = archive_write_new();
  archive_write_set_format_ustar(out);
  archive_write_set_bytes_in_last_block(out, 1);
  archive_write_open_memory(out, tar.data(), tar.size(), &used);
  for (const auto& [name, content] : members) {
    archive_entry* entry = archive_entry_new();
    archive_entry_set_pathname(entry, name.c_str());
    archive_entry_set_filetype(entry, AE_IFREG);
    archive_entry_set_perm(entry, 0644);
    archive_entry_set_size(entry, static_cast<la_int64_t>(content.size()));
    archive_write_header(out, entry);
    archive_write_data(out, content.data(), content.size());
    archive_entry_free(entry);
  }
  EXPECT_EQ(archive_write_close(out), ARCHIVE_OK);
  archive_write_free(out);
  tar.resize(used);
  return tar;
}

inline std::vector<Sample> all_samples(const Manifest& manifest) {
  std::vector<Sample> samples;
  for (std::size_t shard = 0; shard < manifest.shards().size(); ++shard) {
    for (Sample& sample : manifest.shard(shard)) samples.push_back(std::move(sample));
  }
  return samples;
}

inline std::vector<std::string> keys(const Manifest& manifest) {
  std::vector<std::string> keys;
  for (const Sample& sample : all_samples(manifest)) keys.push_back(sample.key);
  return keys;
}

inline std::string content(MemoryStore& store, const Sample& sample) {
  const auto bytes = store.read(sample.object, sample.offset, sample.size);
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

}  // namespace musher::test
