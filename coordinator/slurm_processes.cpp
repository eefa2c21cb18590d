#include "coordinator/slurm_processes.h"

#include <sys/eventfd.h>

namespace musher {

SlurmProcesses::SlurmProcesses(SlurmDesk& desk, SlurmTarget target)
    : desk_(desk), over_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)), target_(std::move(target)) {}

void SlurmProcesses::set_id(std::int64_t id) {
  const std::lock_guard lock(mutex_);
  target_.id = id;
}

SlurmTarget SlurmProcesses::target() {
  const std::lock_guard lock(mutex_);
  return target_;
}

void SlurmProcesses::over() {
  ::eventfd_write(over_.get(), 1);
}

void SlurmProcesses::ask_to_stop() {
  desk_.terminate(target());
}

void SlurmProcesses::kill_ranks() {
  desk_.kill(target());
  desk_.look();
}

void SlurmProcesses::kill_all() {
  desk_.end(target());
}

}  // namespace musher
