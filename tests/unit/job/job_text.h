#pragma once

#include <string>

#include <nlohmann/json.hpp>

namespace musher {

/// A job that is right, to be made wrong in one place.
inline nlohmann::ordered_json good_job() {
  return nlohmann::ordered_json::parse(R"({
    "TrainingJobName": "fashion-mnist",
    "AlgorithmSpecification": {"AlgorithmName": "image-classification", "TrainingInputMode": "FastFile"},
    "InputDataConfig": [
      {"ChannelName": "train",
       "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://data/train"}}},
      {"ChannelName": "validation",
       "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://data/validation/"}}}
    ],
    "OutputDataConfig": {"S3OutputPath": "s3://jobs"},
    "ResourceConfig": {"InstanceCount": 2},
    "CheckpointConfig": {"S3Uri": "s3://jobs/checkpoints"},
    "StoppingCondition": {"MaxRuntimeInSeconds": 3600},
    "HyperParameters": {
      "model": "convnet", "image_size": "28", "image_channels": "1", "normalize_mean": "0.2860",
      "normalize_std": "0.3530", "epochs": "8", "batch_size": "256", "virtual_workers": "8",
      "optimizer": "sgd", "learning_rate": "0.1"
    }
  })");
}

}  // namespace musher
