#include "job/hyperparameter_entry.h"

namespace musher {

using namespace hyperparameter_table;

std::vector<HyperparameterEntry> optimizer_hyperparameters() {
  return {
      choice<OptimizerKind>("optimizer", &H::optimizer,
                            {{"sgd", OptimizerKind::kSgd},
                             {"adam", OptimizerKind::kAdam},
                             {"adamw", OptimizerKind::kAdamW},
                             {"lamb", OptimizerKind::kLamb},
                             {"lars", OptimizerKind::kLars}},
                            "how a step is made; lamb and lars are for large batches"),
      real("learning_rate", &H::learning_rate, {0, 1000, true}, "at its peak, after warm-up"),
      Entry{"lr_multipliers", "numbers", "name=number, with commas between, 0 to 1000", "",
            "of the learning rate, by parts of the model: head, backbone, or names of modules, "
            "such as backbone=0.1, layer4=0.5",
            [](H& all, const std::string& text) {
              return set_named_numbers(all.lr_multipliers, text, {0, 1000});
            }},
      real("momentum", &H::momentum, {0, 1, false, true}, "of sgd and lars"),
      flag("nesterov", &H::nesterov, "Nesterov's momentum, of sgd"),
      real("beta1", &H::beta1, {0, 1, false, true}, "of adam, adamw and lamb"),
      real("beta2", &H::beta2, {0, 1, false, true}, "of adam, adamw and lamb"),
      real("epsilon", &H::epsilon, {0, 1, true}, "of adam, adamw and lamb"),
      real("trust_coefficient", &H::trust_coefficient, {0, 1000, true}, "of lars"),
      real("weight_decay", &H::weight_decay, {0, 100},
           "L2 for sgd, adam and lars; decoupled for adamw and lamb"),
      choice<bool>("exclude_from_weight_decay", &H::exclude_norms_and_biases,
                   {{"none", false}, {"norms_and_biases", true}},
                   "parameters of one dimension that have no weight decay, nor a trust ratio of "
                   "lamb and lars"),
      real("clip_grad_norm", &H::clip_grad_norm, {0, 1e9},
           "the most that the norm of the whole gradient may be; 0: any"),
      choice<ScheduleKind>("lr_schedule", &H::lr_schedule,
                           {{"constant", ScheduleKind::kConstant},
                            {"cosine", ScheduleKind::kCosine},
                            {"linear", ScheduleKind::kLinear},
                            {"step", ScheduleKind::kStep},
                            {"one_cycle", ScheduleKind::kOneCycle}},
                           "cosine and linear go to lr_min at the last step"),
      real("lr_min", &H::lr_min, {0, 1000}, "where cosine and linear end; at most learning_rate"),
      real("lr_gamma", &H::lr_gamma, {0, 1, true}, "what step multiplies the learning rate by"),
      whole<std::int64_t>("lr_step_size", &H::lr_step_size, 0, 100'000,
                          "epochs from one step down to the next; 0: at lr_milestones"),
      Entry{"lr_milestones", "numbers", "epochs, ascending, with commas between", "",
            "after how many epochs step goes down, such as 30, 60, 80",
            [](H& all, const std::string& text) {
              return set_whole_numbers(all.lr_milestones, text, 100'000, /*ascending=*/true);
            }},
      real("pct_start", &H::pct_start, {0, 1, true, true},
           "share of one_cycle's steps in which the learning rate rises"),
      real("div_factor", &H::div_factor, {1, 1e9},
           "one_cycle begins at learning_rate divided by it"),
      real("final_div_factor", &H::final_div_factor, {1, 1e12},
           "one_cycle ends at what it began with divided by it"),
      flag("cycle_momentum", &H::cycle_momentum,
           "one_cycle moves momentum (or beta1) against the learning rate"),
      real("base_momentum", &H::base_momentum, {0, 1, false, true},
           "momentum at the peak of a one_cycle with cycle_momentum"),
      real("max_momentum", &H::max_momentum, {0, 1, false, true},
           "momentum at the ends of a one_cycle with cycle_momentum"),
      real("warmup_epochs", &H::warmup_epochs, {0, 100'000},
           "over which the learning rate rises linearly; a fraction is fine; at most epochs"),
  };
}

}  // namespace musher
