-- What the guest's methods are called without a receiver: they act on the working fork.
local names, guest, methods = ...

for _, name in ipairs(methods) do
  names[name] = function(...)
    return guest[name](guest, ...)
  end
end
