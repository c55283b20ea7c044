// The way back of the operators that slide a window and look at their input again; compiled apart, on another core.
#pragma once

#include "dispatch.h"

struct Back {
    const Task& task;
    const Tensor& g;
    const std::optional<Tensor>& x;
    void* to;
};

void look_back(const std::string& name, const Back& back);
