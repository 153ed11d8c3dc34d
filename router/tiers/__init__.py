"""What tiers below the workers' own memory hold: LMCache's servers, disks and shared stores."""
