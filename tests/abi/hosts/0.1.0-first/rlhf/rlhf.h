#ifndef RLHF_RLHF_H
#define RLHF_RLHF_H

#include <rlhf/common.h>
#include <rlhf/config.h>
#include <rlhf/context.h>
#include <rlhf/dataset.h>
#include <rlhf/feedback.h>
#include <rlhf/generate.h>
#include <rlhf/lm.h>
#include <rlhf/model.h>
#include <rlhf/ppo.h>
#include <rlhf/reward.h>
#include <rlhf/tokenizer.h>

#endif
