"""Pictures of adversarials: the contact sheet, and Figure 1 of the BANG paper."""
